"""Writes the test vectors in tests/vectors for both SDKs: accepted and refused inputs, with the reasons.

.venv/bin/python scripts/vectors/make_vectors.py           writes the files
.venv/bin/python scripts/vectors/make_vectors.py --check   checks whether the files are up to date

`vectors.json` was created with independent packages and is not written here. The keys are for tests only, and derived from words.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import vector_log
import vector_receipts
import vector_values

TARGET: Final = Path(__file__).parents[2] / "tests" / "vectors"
COMMAND: Final = ".venv/bin/python scripts/vectors/make_vectors.py"


def main() -> int:
    """Return the exit status."""
    changed = [name for name, text in rendered().items() if not is_written(name, text)]
    if "--check" in sys.argv[1:]:
        for name in changed:
            print(f"{name} is out of date; run: {COMMAND}")
        return 1 if changed else 0
    for name, text in rendered().items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


def rendered() -> dict[str, str]:
    """Return the text of each file by name."""
    vectors = {
        "canonical.json": vector_values.canonical(),
        "quantities.json": vector_values.quantities(),
        "money.json": vector_values.money_and_prices(),
        "proofs.json": vector_log.proofs(),
        "notes.json": vector_log.notes(),
        "settlements.json": vector_log.settlements(),
        "receipts.json": vector_receipts.receipts(),
    }
    # Escaped, since UTF-8 cannot encode some of the text.
    return {name: json.dumps(value, indent=1) + "\n" for name, value in vectors.items()}


def is_written(name: str, text: str) -> bool:
    """Return whether the file is up to date."""
    path = TARGET / name
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
