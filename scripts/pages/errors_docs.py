"""Generates docs/reference/errors.md from the errors of the API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from agent.core.errors import JobNotFound, answerable, error_body
from generated import NOTE, REFERENCE, linked, publish


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
    yield "other errors need a change first. The status of a failed job has the cause in `error`, with a code of its runner."
    yield ""
    yield "| code | HTTP | meaning | remedy |"
    yield "|---|---|---|---|"
    for code, kind in answerable().items():
        meaning = " ".join((kind.__doc__ or "").split())
        yield f"| `{code}` | {kind.status} | {meaning} | {kind.remedy} |"


if __name__ == "__main__":
    sys.exit(main())
