"""Writes the vectors in tests/vectors that both SDKs are tested with: what they accept, what they refuse, and why.

.venv/bin/python scripts/vectors/make_vectors.py           writes them
.venv/bin/python scripts/vectors/make_vectors.py --check   says whether they are what the code gives

`vectors.json` was made with independent packages and is not written here. Keys are throw-away, and made from words.
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
    """Returns the exit status."""
    changed = [name for name, text in rendered().items() if not is_written(name, text)]
    if "--check" in sys.argv[1:]:
        for name in changed:
            print(f"{name} is not what the code gives; run: {COMMAND}")
        return 1 if changed else 0
    for name, text in rendered().items():
        (TARGET / name).write_text(text, encoding="utf-8")
    return 0


def rendered() -> dict[str, str]:
    """The text of each file, by its name."""
    vectors = {
        "canonical.json": vector_values.canonical(),
        "quantities.json": vector_values.quantities(),
        "money.json": vector_values.money_and_prices(),
        "proofs.json": vector_log.proofs(),
        "notes.json": vector_log.notes(),
        "settlements.json": vector_log.settlements(),
        "receipts.json": vector_receipts.receipts(),
    }
    # Escaped, because some of it is no text that UTF-8 can hold.
    return {name: json.dumps(value, indent=1) + "\n" for name, value in vectors.items()}


def is_written(name: str, text: str) -> bool:
    """Whether the file is as it should be."""
    path = TARGET / name
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
