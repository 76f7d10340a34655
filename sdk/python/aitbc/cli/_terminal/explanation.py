"""Shows why a job does not run."""

from __future__ import annotations

from collections.abc import Iterator

from aitbc.answers.jobs import JobExplanation
from aitbc.cli._arguments.option_names import with_options_named
from aitbc.cli._terminal.output import print_text

_WHO = {"client": "you", "owner": "the miner's owner", "operator": "the operator", "time": "ends on its own"}


def print_explanation(explanation: JobExplanation) -> None:
    """Print the summary, then each reason with who can change it and how."""
    for line in _lines(explanation):
        print_text(line)


def _lines(explanation: JobExplanation) -> Iterator[str]:
    yield f"{explanation.job_id} ({explanation.status}): {with_options_named(explanation.summary)}"
    for reason in explanation.reasons:
        yield f"  {reason.code} ({_WHO.get(reason.who, reason.who)}): {with_options_named(reason.message)}"
        yield f"    {with_options_named(reason.action)}"
    if explanation.can_run == "never" and explanation.reasons:
        yield "No known miner can run the job as it is."
    if explanation.position is not None:
        yield f"Position in the queue: {explanation.position}"
    if explanation.estimated_start is not None and explanation.can_run == "later":
        yield f"Estimated start: {explanation.estimated_start}"
    for miner in explanation.miners if explanation.reasons else ():
        yield f"  {miner.name} ({miner.miner_id}): {', '.join(miner.reasons) or 'can run it now'}"
