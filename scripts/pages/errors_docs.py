"""Writes docs/errors.md from the errors of the code.

.venv/bin/python scripts/pages/errors_docs.py           writes it
.venv/bin/python scripts/pages/errors_docs.py --check   says whether it is what the code gives
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.core.errors import JobNotFound, answerable, error_body
from runners.errors import FailureCode, Fault

TARGET: Final = Path(__file__).parents[2] / "docs" / "errors.md"
FAULTS: Final = {
    Fault.INPUT: "The job is at fault",
    Fault.MACHINE: "The machine is at fault",
    Fault.MODEL: "The model cannot be used on the machine",
    Fault.CAPACITY: "The machine has too little memory",
    Fault.NEITHER: "Neither is at fault",
}
COMMAND: Final = ".venv/bin/python scripts/pages/errors_docs.py"


def main() -> int:
    """Returns the exit status."""
    text = "\n".join(_lines()) + "\n"
    if "--check" in sys.argv[1:]:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"docs/{TARGET.name} is not what the code gives; run: {COMMAND}")
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


def _lines() -> Iterator[str]:
    yield "# Error codes"
    yield ""
    yield f"<!-- Made from the code by {COMMAND}; do not edit. -->"
    yield ""
    yield "Every error, on every path, has one shape. `code` is for programs and does not change; `message` is for people and says what to do;"
    yield "`details` has what belongs to the code; `request_id` stands in the answer's header `X-Request-ID` and in the coordinator's log too."
    yield ""
    sample = JobNotFound("job_1234567890")
    yield "```json"
    yield json.dumps(error_body(sample.code, sample.message, sample.details, "5f2c1e0a9b7d4c33"), indent=2)
    yield "```"
    yield ""
    yield "429 and 503 carry `Retry-After`. 423, 500 and 503 may be tried again as they are, with the same `Idempotency-Key` where the call takes one;"
    yield "after the others something has to change first. A job that failed has its cause in `error` of its status; its codes are [below](#codes-of-failed-jobs)."
    yield ""
    yield "| code | HTTP | meaning | what to do |"
    yield "|---|---|---|---|"
    for code, kind in answerable().items():
        meaning = " ".join((kind.__doc__ or "").split())
        yield f"| `{code}` | {kind.status} | {meaning} | {kind.remedy} |"
    yield from _failures()


def _failures() -> Iterator[str]:
    yield ""
    yield "## Codes of failed jobs"
    yield ""
    yield "`error.code` of a job whose status is `failed`. After a fault of the job itself the job fails for good, and the message says what to change."
    yield "After any other fault another miner tries it, up to `max_attempts`; a job that still fails has the code of its last run."
    yield "A runner of another package may use codes of its own."
    for fault, title in FAULTS.items():
        yield from ("", f"### {title}", "", "| code | meaning | tried again |", "|---|---|---|")
        for code in FailureCode:
            if code.fault is fault:
                yield f"| `{code}` | {code.meaning} | {'yes' if code.retried else 'no'} |"


if __name__ == "__main__":
    sys.exit(main())
