"""Generates docs/reference/doctor.md from the table of diagnostics."""

from __future__ import annotations

import re
import sys

from agent.diagnostics import feature_checks
from agent.miner.doctor.diagnostics import KINDS
from generated import NOTE, REFERENCE, linked, publish

HEAD = f"""# Doctor diagnostics

{NOTE}

<!-- fails -->

```console
$ aitbc-agent doctor                  # a table, worst first, with a remedy for each diagnostic
$ aitbc-agent doctor --json           # a list of {{id, severity, message, remedy}}
$ aitbc-agent doctor --coordinator https://coordinator.example.org --enroll TOKEN      # before joining
```

The doctor changes nothing and spends no token. It can run while an agent runs. The exit code is 1 if there is a **fault**: a problem that stops work or endangers data.
Otherwise it is 0; a **warning** costs earnings or comfort. A passed check has the severity `ok` and no remedy.

Words in capitals stand for values from the machine.

| id | severity | problem | remedy |
|---|---|---|---|
"""


def words(template: str) -> str:
    """Return a message with its placeholders in capitals."""
    return re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), template).replace("|", "\\|")


def page() -> str:
    """Return the page."""
    rows = [
        f"| `{kind_id}` | {kind.severity} | {words(kind.message)} | {kind.guide or words(kind.remedy)} |\n"
        for kinds in (KINDS, *(checks.KINDS for checks in feature_checks()))
        for kind_id, kind in kinds.items()
    ]
    return linked(HEAD + "".join(rows))


if __name__ == "__main__":
    sys.exit(publish({REFERENCE / "doctor.md": page()}))
