"""Shows why a job does not run."""

from __future__ import annotations

from collections.abc import Iterator

from aitbc.cli._arguments.options import with_options_named
from aitbc.cli._terminal.output import print_text
from aitbc.models import JobExplanation

_WHO = {"client": "you", "owner": "the miner's owner", "operator": "the operator", "time": "ends on its own"}


def print_explanation(found: JobExplanation) -> None:
    """Print the summary, then each reason with who can change it and how."""
    for line in _lines(found):
        print_text(line)


def _lines(found: JobExplanation) -> Iterator[str]:
    yield f"{found.job_id} ({found.status}): {with_options_named(found.summary)}"
    for reason in found.reasons:
        yield f"  {reason.code} ({_WHO.get(reason.who, reason.who)}): {with_options_named(reason.message)}"
        yield f"    {with_options_named(reason.action)}"
    if found.can_run == "never" and found.reasons:
        yield "No known miner can run the job as it is."
    if found.position is not None:
        yield f"Position in the queue: {found.position}"
    if found.estimated_start is not None and found.can_run == "later":
        yield f"Estimated start: {found.estimated_start}"
    for miner in found.miners if found.reasons else ():
        yield f"  {miner.name} ({miner.miner_id}): {', '.join(miner.reasons) or 'can run it now'}"
