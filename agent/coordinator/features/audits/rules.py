"""The rules of audits: which of a miner's jobs are checked, what the opinions of auditors decide, and when a miner is sanctioned.

An honest miner fails a check with a probability of at most `q`, the bound of the calibration. A failed check alone proves nothing; many
of them do. docs/explanation/audits.md derives the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

PYTHON_MODELS: Final = ("ai_inference", "python")
"""Service and runner whose version ends with that of Python, as `python` of the evidence states it."""
MAX_ERROR: Final = 1e-6
"""Highest probability, over a whole series of checks, with which an honest miner is ever sanctioned."""
LEAST_FAILURES: Final = 2
"""A single failed check never sanctions."""
SERIES: Final = 1000
"""Checks after which the counts begin again, so that a long honest past hides nothing."""
AGREEING: Final = 2
"""Opinions with the same verdict that decide an audit."""
MOST_OPINIONS: Final = 5
"""Opinions after which an audit ends even if no two agree."""
USELESS: Final = 3
"""Consecutive unproven opinions, each of which two others refute, after which an auditor is asked only if no other can be."""
FALLING: Final = 20.0
"""Consecutive passes after which the audited share has halved."""
NEGLIGIBLE: Final = 1e-18
"""Part of a sum below which further, smaller terms are left out."""


class Verdict(StrEnum):
    """What an auditor says about a result, or what the audit decides."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNPROVEN = "unproven"


class UnprovenCause(StrEnum):
    """Why an audit proves nothing.

    `miner`: what the audited miner sent or stated cannot be compared. `registration`: its statement contradicts its registration.
    """

    OTHER = ""
    MINER = "miner"
    REGISTRATION = "registration"


class AuditKind(StrEnum):
    """The purpose of an audit job. The first and the second begin an audit; the others belong to one."""

    CHECK = "check"
    CANARY = "canary"
    THIRD = "third"
    SECOND_OPINION = "second_opinion"


@dataclass(frozen=True, slots=True)
class Counts:
    """Checks of a series with a verdict, and those of them that failed."""

    checked: int = 0
    failed: int = 0

    def plus(self, failed: bool) -> Counts:
        """Return the counts after one more verdict. After `SERIES` checks a new series begins."""
        # Counts begin again after a series, so that a long honest past does not hide that a miner begins to cheat.
        if self.checked >= SERIES:
            return Counts(1, int(failed))
        return Counts(self.checked + 1, self.failed + failed)

    def less_a_failure(self) -> Counts:
        """Return the counts without a failure that a second opinion has not confirmed."""
        return Counts(max(0, self.checked - 1), max(0, self.failed - 1))


NOTHING: Final = Counts()


@dataclass(frozen=True, slots=True)
class Standing:
    """What audits have shown of a miner in one service and model.

    `engine` names the runner and its version; `passes` are consecutive. `organic` counts jobs of clients, `canaries` jobs with known
    answers. `unproven` counts audits without a result, and `at_fault` those of them through the miner itself.

    Of an auditor, `organic` counts opinions that others confirm or refute, `unproven` those that prove nothing, `at_fault` those of
    them that two others refute, and `refuted_in_row` the latest of these, without an opinion that proves something between them.
    """

    engine: str = ""
    passes: int = 0
    organic: Counts = NOTHING
    canaries: Counts = NOTHING
    unproven: int = 0
    at_fault: int = 0
    refuted_in_row: int = 0

    def counts(self, kind: AuditKind) -> Counts:
        """Return the counts to which an audit of this kind belongs."""
        return self.canaries if kind is AuditKind.CANARY else self.organic

    def after(
        self, kind: AuditKind, verdict: Verdict, engine: str, cause: UnprovenCause = UnprovenCause.OTHER
    ) -> Standing:
        """Return a miner's standing after the decision of an audit.

        An unproven one is only counted, except that a statement that contradicts the miner's registration counts like a failure.
        """
        if verdict is Verdict.UNPROVEN:
            counted = replace(self, unproven=self.unproven + 1, at_fault=self.at_fault + bool(cause))
            if cause is not UnprovenCause.REGISTRATION:
                return counted
            return counted.after(kind, Verdict.FAIL, engine)
        failed = verdict is Verdict.FAIL
        # Trust belongs to a version of the engine: another one may compute otherwise.
        passes = 0 if failed else (self.passes if engine == self.engine else 0) + 1
        return replace(self._with(kind, self.counts(kind).plus(failed)), engine=engine, passes=passes)

    def after_opinion(self, verdict: Verdict) -> Standing:
        """Return an auditor's standing after one more opinion of its own, confirmed or not."""
        if verdict is not Verdict.UNPROVEN:
            return replace(self, refuted_in_row=0)
        return replace(self, unproven=self.unproven + 1)

    def after_refutation(self) -> Standing:
        """Return an auditor's standing after two others have agreed on what it could not prove."""
        return replace(self, at_fault=self.at_fault + 1, refuted_in_row=self.refuted_in_row + 1)

    def without_failure(self, kind: AuditKind) -> Standing:
        """Return the standing without a failure that a second opinion has not confirmed."""
        return self._with(kind, self.counts(kind).less_a_failure())

    def _with(self, kind: AuditKind, counts: Counts) -> Standing:
        if kind is AuditKind.CANARY:
            return replace(self, canaries=counts)
        return replace(self, organic=counts)


def share(standing: Standing, engine: str, floor: float) -> float:
    """Return the share of a miner's jobs that is audited, from `floor` to 1.

    It is 1 for a new miner, model or version of the engine and after a failure, and falls with consecutive passes.
    """
    if standing.engine != engine:
        return 1.0
    return max(floor, FALLING / (FALLING + standing.passes))


def tail(checked: int, failed: int, bound: float) -> float:
    """Return the probability of at least `failed` failures in `checked` independent checks that each fail with probability `bound`."""
    if not 0 <= bound <= 1:
        raise ValueError(f"{bound} is no probability")
    if failed <= 0:
        return 1.0
    if failed > checked or bound == 0:
        return 0.0
    if bound == 1:
        return 1.0
    # In logarithms, since factorials of a thousand exceed a float.
    odds = math.log(bound) - math.log1p(-bound)
    term = math.exp(
        math.lgamma(checked + 1)
        - math.lgamma(failed + 1)
        - math.lgamma(checked - failed + 1)
        + failed * odds
        + checked * math.log1p(-bound)
    )
    total = term
    for i in range(failed, checked):
        ratio = (checked - i) / (i + 1) * math.exp(odds)
        term *= ratio
        total += term
        # The terms fall from here on, and no longer change the sum.
        if ratio < 1 and term < total * NEGLIGIBLE:
            break
    return min(1.0, total)


def error_probability(counts: Counts, bound: float) -> float:
    """Return a bound for the probability that an honest miner ever has such counts in a series, or worse ones.

    The counts are tested after every check. A miner that has `k` failures at one test has at least as many at the last test at which
    `k` would sanction, so all tests with `k` failures together err with at most the tail there. The factors 2^k make the sum over all `k` of
    both series, organic and canaries, at most `MAX_ERROR`.
    """
    return min(1.0, tail(counts.checked, counts.failed, bound) * 2.0**counts.failed)


def is_proven(counts: Counts, bound: float) -> bool:
    """Return whether the counts justify a sanction."""
    return counts.failed >= LEAST_FAILURES and error_probability(counts, bound) < MAX_ERROR


@dataclass(frozen=True, slots=True)
class Opinion:
    """What an auditor has found, and why, if it proves nothing. `auditor_id` is empty for an opinion that nobody gave."""

    auditor_id: str
    verdict: Verdict
    cause: UnprovenCause = UnprovenCause.OTHER


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of an audit, and why it is unproven.

    `odd_ones` are the auditors whose pass or fail two others have refuted, `refuted` those whose unproven opinion.
    """

    verdict: Verdict
    odd_ones: tuple[str, ...] = ()
    refuted: tuple[str, ...] = ()
    cause: UnprovenCause = UnprovenCause.OTHER


def decide(
    opinions: Sequence[Opinion], *, recheck: bool = False, others_can_audit: bool = True
) -> Decision | None:
    """Return what the opinions decide, in the order in which they arrived, or None if another auditor must be asked.

    A `pass` that comes first decides, unless it is chosen for a `recheck`. Otherwise two that pass must agree, or two that fail. An
    `unproven` counts for neither, so that no auditor alone ends an audit with it; two of them, and nothing else, end it unless they are
    chosen for a `recheck`. Without `others_can_audit`, what there is decides.
    """
    for verdict in (Verdict.FAIL, Verdict.PASS):
        if sum(opinion.verdict is verdict for opinion in opinions) >= AGREEING:
            different = [opinion for opinion in opinions if opinion.verdict is not verdict]
            return Decision(
                verdict,
                tuple(dissent.auditor_id for dissent in different if dissent.verdict is not Verdict.UNPROVEN),
                tuple(
                    dissent.auditor_id
                    for dissent in different
                    if dissent.verdict is Verdict.UNPROVEN and dissent.auditor_id
                ),
            )
    verdicts = [opinion.verdict for opinion in opinions]
    if others_can_audit and len(opinions) < MOST_OPINIONS:
        if Verdict.FAIL in verdicts or not verdicts:
            return None
        if Verdict.PASS in verdicts and (recheck or len(verdicts) > 1):
            return None
        if Verdict.PASS not in verdicts and (
            len(verdicts) < AGREEING or (recheck and len(verdicts) == AGREEING)
        ):
            return None
    if Verdict.PASS in verdicts and Verdict.FAIL not in verdicts:
        return Decision(Verdict.PASS)
    return Decision(Verdict.UNPROVEN, cause=_cause(opinions))


def _cause(opinions: Sequence[Opinion]) -> UnprovenCause:
    """Return why nothing is proven: through the miner if at least half of the auditors that prove nothing say so."""
    causes = [
        opinion.cause for opinion in opinions if opinion.verdict is Verdict.UNPROVEN and opinion.auditor_id
    ]
    return (
        UnprovenCause.MINER
        if causes and causes.count(UnprovenCause.MINER) * 2 >= len(causes)
        else UnprovenCause.OTHER
    )


def after_second_opinion(verdict: Verdict, second: Verdict) -> Verdict:
    """Return the verdict of an audit after a second opinion: one that passes the result leaves the audit unproven."""
    return Verdict.UNPROVEN if verdict is Verdict.FAIL and second is Verdict.PASS else verdict


def surcharge(price: int, budget: int, reserved: int) -> int:
    """Return what a requested audit costs: as much of `reserved` as the job's `price` is of its `budget`, rounded down."""
    return 0 if budget <= 0 else min(reserved, price * reserved // budget)


def looking(usual: int, percent: float) -> int:
    """Return the most that an opinion is paid that proves nothing: what a first comparison costs, in percent of the job's price."""
    return math.ceil(usual * percent / 100)


def contradiction(
    device: tuple[str, str, str | None],
    gpus: Mapping[str, str],
    runner: tuple[str, str, str],
    python: object = None,
) -> str:
    """Return what of a statement or its evidence contradicts the miner's registration, in one sentence; empty if nothing does.

    `device` has the stated kind, name and UUIDs (with commas); `gpus` are the registered names by UUID. `runner` has the service, the
    runner and its version, which are registered. An honest agent takes all of this from the same source, so that only an outdated
    registration can differ.
    """
    kind, name, uuids = device
    if kind != "cpu":
        stated = (uuids or "").split(",")
        missing = [uuid for uuid in stated if uuid not in gpus]
        if missing:
            return f"The statement names the GPU {missing[0]!a}, which the miner has not registered."
        registered = gpus.get(stated[0], "")
        # With several GPUs, the statement has their number and the first one's name.
        if name != (registered if len(stated) == 1 else f"{len(stated)} x {registered}"):
            return f"The statement names the device {name!a}, but the miner has registered {registered!a}."
    service, runner_name, version = runner
    # Only the version of this runner ends with that of Python.
    if (service, runner_name) == PYTHON_MODELS and python is not None and not version.endswith(f"+{python}"):
        return f"The evidence names Python {python!a}, but the miner has registered {version!a}."
    return ""
