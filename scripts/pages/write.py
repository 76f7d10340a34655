"""Runs all generators of pages and files in one process, since each needs the imports of the agent.

.venv/bin/python scripts/pages/write.py           writes what they generate
.venv/bin/python scripts/pages/write.py --check   writes the pages of the reference, and reports other files that are out of date
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> int:
    """Return the exit status."""
    status = 0
    for script in sorted(Path(__file__).parent.glob("*_docs.py")):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            status |= bool(end.code)
    return status


if __name__ == "__main__":
    sys.exit(main())
