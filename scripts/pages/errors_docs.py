"""Generates docs/reference/errors.md from the errors of the API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Final

import agent.coordinator.installed  # noqa: F401 - features declare errors too
from agent.core.errors import JobNotFound, answerable, error_body
from generated import NOTE, REFERENCE, linked, publish
from runners.errors import FailureCode, Fault

FAULTS: Final = {
    Fault.INPUT: "The job is at fault",
    Fault.MACHINE: "The machine is at fault",
    Fault.MODEL: "The model cannot be used on the machine",
    Fault.CAPACITY: "The machine has too little memory",
    Fault.NEITHER: "Neither is at fault",
}


def main() -> int:
    """Return the exit status."""
    return publish({REFERENCE / "errors.md": linked("\n".join(_lines()) + "\n")})


def _lines() -> Iterator[str]:
    yield "# Error codes"
    yield ""
    yield NOTE
    yield ""
    yield "Every error has the same shape on every path. `code` is stable and meant for programs. `message` is for people and states a remedy."
    yield "`details` depends on the code. `request_id` is also in the header `X-Request-ID` and in the coordinator's log."
    yield ""
    sample = JobNotFound("job_1234567890")
    yield "```json"
    yield json.dumps(error_body(sample.code, sample.message, sample.details, "5f2c1e0a9b7d4c33"), indent=2)
    yield "```"
    yield ""
    yield "429 and 503 carry `Retry-After`. 423, 500 and 503 can be retried unchanged, with the same `Idempotency-Key` if the call accepts one;"
    yield "other errors need a change first. The status of a failed job has the cause in `error`; its codes are [below](#codes-of-failed-jobs)."
    yield ""
    yield "| code | HTTP | meaning | remedy |"
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
    yield "After any other fault another miner retries it, up to `max_attempts`; a job that still fails has the code of its last run."
    yield "A runner of another package may use codes of its own."
    for fault, title in FAULTS.items():
        yield from ("", f"### {title}", "", "| code | meaning | retried |", "|---|---|---|")
        for code in FailureCode:
            if code.fault is fault:
                yield f"| `{code}` | {code.meaning} | {'yes' if code.retried else 'no'} |"


if __name__ == "__main__":
    sys.exit(main())
