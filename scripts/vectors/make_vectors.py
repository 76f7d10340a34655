"""Writes the test vectors of both SDKs to tests/vectors: accepted inputs, and refused inputs with the reason.

.venv/bin/python scripts/vectors/make_vectors.py           writes them
.venv/bin/python scripts/vectors/make_vectors.py --check   checks that they match the code

`vectors.json` comes from independent packages, and the files of version 0.1.0 from that version; neither is written here. The
keys are throw-away keys that are derived from text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import vector_amounts
import vector_log
import vector_payouts
import vector_receipts
import vector_sealed
import vector_values

TARGET: Final = Path(__file__).parents[2] / "tests" / "vectors"
COMMAND: Final = ".venv/bin/python scripts/vectors/make_vectors.py"


def main() -> int:
    """Write or check the files. Returns the exit status."""
    changed = [name for name, text in rendered().items() if not is_written(name, text)]
    if "--check" in sys.argv[1:]:
        for name in changed:
            print(f"{name} does not match the code. Run {COMMAND}")
        return 1 if changed else 0
    for name, text in rendered().items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


def rendered() -> dict[str, str]:
    """Return the text of each file, by its name."""
    vectors = {
        "canonical.json": vector_values.canonical(),
        "quantities.json": vector_values.quantities(),
        "money.json": vector_values.money_and_prices(),
        "amounts.json": vector_amounts.amounts_and_sale_units(),
        "proofs.json": vector_log.proofs(),
        "notes.json": vector_log.notes(),
        "settlements.json": vector_log.settlements(),
        "payouts.json": vector_payouts.payouts(),
        "receipts.json": vector_receipts.receipts(),
        "sealed.json": vector_sealed.sealed(),
    }
    # Escaped, because some strings cannot be encoded as UTF-8.
    return {name: json.dumps(value, indent=1) + "\n" for name, value in vectors.items()}


def is_written(name: str, text: str) -> bool:
    """Return whether the file has this text."""
    path = TARGET / name
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
