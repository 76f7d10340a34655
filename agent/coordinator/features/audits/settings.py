"""Settings of audits."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.core.values.quantities import Bytes, Money
from agent.sections import Section

Percent = Annotated[float, Field(ge=0, le=1000)]
_Share = Annotated[float, Field(ge=0, le=1)]


class AuditSettings(Section):
    """Checks of finished jobs by other miners (docs/explanation/audits.md). Without a miner that offers them there are none."""

    enforce: bool = False
    """Whether a miner that is proven to return wrong results loses the pay and the reputation of these jobs. Off (shadow mode): audits
    are only reported, so that an operator can see what they would do."""
    least_share: _Share = 0.05
    """Minimum share of a miner's jobs that is audited, reached after many consecutive passes. A new miner starts at 1."""
    recheck_share: _Share = 0.05
    """Share of passed audits that another auditor repeats, so that an auditor that passes everything is found."""
    false_positive_bound: Annotated[float, Field(gt=0, lt=0.5)] = 0.0015
    """Upper bound of the probability that the audit of an honest result fails. 2,000 honest audits without a failure show the default
    with 95 % confidence. A miner is sanctioned only for so many failures that an honest miner has them with a probability below 1e-6."""
    canary_false_positive_bound: Annotated[float, Field(gt=0, lt=0.5)] = 0.0015
    """The same bound for canaries, the jobs with known answers."""
    budget_per_day: Money = Money("10")
    """Money that audits and canaries may cost in a day, without what clients pay for audits that they request. It comes from the
    operator's fees, or else is issued. Audits beyond it are skipped, and the client gets back what a requested one has not cost."""
    prefill_percent: Percent = 10
    """What a client pays for a requested audit that reads input and output once, in percent of the job's price."""
    window_percent: Percent = 25
    """The same price for an audit that repeats a part of the job."""
    rerun_percent: Percent = 100
    """The same price for an audit that repeats the whole job."""
    wait_seconds: Annotated[float, Field(gt=0)] = 3600
    """How long an audit waits for an auditor before it ends unproven. Auditors may be busy with jobs of clients for a while."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """How many auditors are asked in turn for one opinion, if their runs fail."""
    second_opinion_seconds: Annotated[float, Field(ge=0)] = 2 * 86_400
    """How long the owner of a miner can ask for a second opinion about a failed audit. Sanctions wait this long. The default covers a
    weekend."""
    canaries_per_day: Annotated[float, Field(ge=0)] = 24
    """Average number of canaries that are submitted in a day, at random moments, if the operator has created any."""
    max_evidence: Bytes = Bytes("1Mi")
    """Maximum size of the evidence that a miner sends with a result for a later audit: the probabilities of 10,000 tokens."""


SETTINGS: Final = {"coordinator.audits": AuditSettings}
