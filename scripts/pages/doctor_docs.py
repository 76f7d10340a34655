#!/usr/bin/env python3
"""Writes docs/reference/doctor.md from the table of what `aitbc-agent doctor` finds; `--check` says whether it is up to date."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from agent.miner.doctor.diagnostics import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "doctor.md"

HEAD = """# What the doctor finds

<!-- fails -->

```console
$ aitbc-agent doctor                  # a table: the worst first, and what to do about each
$ aitbc-agent doctor --json           # the same for programs: a list of {id, severity, message, remedy}
$ aitbc-agent doctor --coordinator https://coordinator.example.org --enroll TOKEN      # before joining
```

It changes nothing, spends no token, and may be run while an agent runs. The exit code is 1 when there is a **fault**, something that would
stop work or endangers what must not be lost, and 0 otherwise: a **warning** costs earnings or comfort. What is well has the
severity `ok`, and no remedy.

This page is made by `scripts/pages/doctor_docs.py`. Words in capitals stand for what was found on the machine.

| id | severity | what is wrong | what to do |
|---|---|---|---|
"""


def words(template: str) -> str:
    """A message as it stands on the page."""
    return re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), template).replace("|", "\\|")


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{kind_id}` | {kind.severity} | {words(kind.message)} | {kind.guide or words(kind.remedy)} |\n"
        for kind_id, kind in KINDS.items()
    ]
    return HEAD + "".join(rows)


def main() -> int:
    """Write the page, or compare it."""
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(
            "docs/reference/doctor.md is not up to date. Run: .venv/bin/python scripts/pages/doctor_docs.py"
        )
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
