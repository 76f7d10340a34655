"""Generates docs/reference/waiting.md from the reasons for which jobs wait."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from aitbc.reasons import ReasonCode, Who
from generated import NOTE, REFERENCE, linked, publish

WHO: Final = {
    Who.CLIENT: "the client",
    Who.OWNER: "the miner's owner",
    Who.OPERATOR: "the operator",
    Who.TIME: "nobody: it ends on its own",
}


def main() -> int:
    """Return the exit status."""
    return publish({REFERENCE / "waiting.md": linked("\n".join(_lines()) + "\n")})


def _lines() -> Iterator[str]:
    yield "# Why jobs wait"
    yield ""
    yield NOTE
    yield ""
    yield "`GET /v1/jobs/{job_id}/explain` states why a job does not run: what prevents it and by how much, who can change it, and how."
    yield "So do `aitbc jobs explain`, `client.jobs.explain(job_id)` and the job's page. The reasons are those of the miners that come"
    yield "nearest to running the job; `miners` lists the reasons of each. `can_run` is `now`, `later`, or `never`: not as it is on any known miner."
    yield ""
    yield "A job that no known miner can ever run is refused when it is submitted, with `CANNOT_RUN` and the same reasons under"
    yield "`details.reasons`. Known miners are those that have registered, whether they are online or not; as long as there are none, all jobs"
    yield 'are accepted. With `"wait": true` the job is accepted and waits for a miner that can run it (`--wait-for-miner` on the command'
    yield "line, `wait_for_miner=True` in the Python SDK's service calls)."
    yield ""
    yield "A job that waits for longer than `coordinator.notify_waiting_seconds` is announced once: by a `job_update` with the field"
    yield "`waiting` on `/ws` and on the job's events, and by a webhook of the type `job.waiting` if the job has a `webhook_url`."
    yield ""
    yield "`estimated_completion` is absent while no miner that is online can take the job, and `estimated_start` is null unless the durations of the"
    yield "job's service and model, and of the jobs that come first, have been measured."
    yield ""
    yield "Owners see with `aitbc-agent explain`, or `GET /v1/miners/{miner_id}/explain`, why a machine does not get the jobs that wait."
    yield ""
    yield "| code | meaning | who can change it | lasting |"
    yield "|---|---|---|---|"
    for code in ReasonCode:
        lasting = "yes" if code.lasting else "no"
        yield f"| `{code}` | {code.meaning} | {WHO[code.who]} | {lasting} |"
    yield ""
    yield "A lasting reason holds until somebody changes the job, a miner or a price."


if __name__ == "__main__":
    sys.exit(main())
