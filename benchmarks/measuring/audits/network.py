"""A simulated network in which some auditors prove nothing, or pass the lies of their accomplice. It uses the rules of audits alone."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.coordinator.features.audits.rules import (
    USELESS,
    AuditKind,
    Decision,
    Opinion,
    Standing,
    Verdict,
    decide,
    is_proven,
    share,
)

BOUND: Final = 0.0015
LEAST_SHARE: Final = 0.05
RECHECK_SHARE: Final = 0.05
LOOK: Final = 0.1
"""Pay for an opinion that proves nothing, of that for another one."""
AUDITORS: Final = 10
JOBS: Final = 100
ENGINE: Final = "v1"

HONEST: Final = "honest"
SILENT: Final = "proves nothing"
ACCOMPLICE: Final = "passes"


@dataclass(slots=True)
class Auditor:
    """An auditor of a kind, and what it has earned: 1 for each comparison."""

    name: str
    kind: str
    standing: Standing = field(default_factory=Standing)
    earned: float = 0.0

    def says(self, lie: bool, chance: random.Random) -> Verdict:
        """Return its opinion about a result."""
        if self.kind == SILENT:
            return Verdict.UNPROVEN
        if self.kind == ACCOMPLICE or not lie:
            return Verdict.FAIL if self.kind == HONEST and chance.random() < BOUND else Verdict.PASS
        return Verdict.FAIL


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a miner: after how many jobs it was sanctioned, None if never, and how many audits and opinions that took."""

    sanctioned: int | None
    audits: int
    opinions: int
    auditors: Sequence[Auditor]


def simulate(kinds: Sequence[str], lies: float, seed: int, jobs: int = JOBS) -> Outcome:
    """Have a miner that lies in this share of its jobs be audited by auditors of these kinds, until it is sanctioned."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    auditors = [Auditor(f"miner_{number}", kind) for number, kind in enumerate(kinds)]
    miner, audits, opinions = Standing(), 0, 0
    for job in range(1, jobs + 1):
        lie = chance.random() < lies
        if chance.random() >= share(miner, ENGINE, LEAST_SHARE):
            continue
        decision, given = _audit(auditors, lie, chance)
        audits, opinions = audits + 1, opinions + len(given)
        miner = miner.after(AuditKind.CHECK, decision.verdict, ENGINE, decision.cause)
        if is_proven(miner.organic, BOUND):
            return Outcome(job, audits, opinions, auditors)
    return Outcome(None, audits, opinions, auditors)


def _audit(auditors: Sequence[Auditor], lie: bool, chance: random.Random) -> tuple[Decision, list[Opinion]]:
    """Ask random auditors until they decide."""
    remaining = list(auditors)
    opinions: list[Opinion] = []
    while True:
        useful = [one for one in remaining if one.standing.refuted_in_row < USELESS]
        asked = chance.choice(useful if useful and chance.random() >= RECHECK_SHARE else remaining)
        remaining.remove(asked)
        verdict = asked.says(lie, chance)
        asked.standing = asked.standing.after_opinion(verdict)
        asked.earned += LOOK if verdict is Verdict.UNPROVEN else 1
        opinions.append(Opinion(asked.name, verdict))
        recheck = chance.random() < RECHECK_SHARE
        decision = decide(opinions, recheck=recheck, others_can_audit=bool(remaining))
        if decision is not None:
            break
    for one in auditors:
        if one.name in decision.refuted:
            one.standing = one.standing.after_refutation()
    return decision, opinions


@dataclass(frozen=True, slots=True)
class Row:
    """A case of the table: so many of ten auditors of a kind, and a miner that lies in a share of its jobs."""

    kind: str
    count: int
    lies: float


CASES: Final = (
    *(Row(SILENT, count, lies) for lies in (1.0, 0.2, 0.0) for count in (0, 1, 3, 5)),
    *(Row(ACCOMPLICE, count, lies) for lies in (1.0, 0.2) for count in (1, 3, 5)),
)


def table(runs: int) -> Iterator[str]:
    """Yield the lines of the table, with so many miners for each case."""
    yield "| of ten auditors | the miner lies in | sanctioned within 100 jobs | after jobs, median | opinions for each audit | pay of such an auditor, of an honest one's |"
    yield "|---|---|---|---|---|---|"
    for row in CASES:
        kinds = [row.kind] * row.count + [HONEST] * (AUDITORS - row.count)
        outcomes = [simulate(kinds, row.lies, seed) for seed in range(runs)]
        yield _line(row, outcomes)


def _line(row: Row, outcomes: Sequence[Outcome]) -> str:
    after = sorted(one.sanctioned for one in outcomes if one.sanctioned is not None)
    audits = sum(one.audits for one in outcomes)
    earned = {
        kind: statistics.mean(found)
        for kind in (HONEST, row.kind)
        if (found := [auditor.earned for one in outcomes for auditor in one.auditors if auditor.kind == kind])
    }
    paid = f"{earned[row.kind] / earned[HONEST]:.0%}" if row.count else ""
    return " | ".join(
        (
            f"| {f'{row.count} {row.kind}' if row.count else 'all honest'}",
            f"{row.lies:.0%}",
            f"{len(after) / len(outcomes):.1%}",
            f"{statistics.median(after):.0f}" if after else "never",
            f"{sum(one.opinions for one in outcomes) / audits:.2f}",
            f"{paid} |",
        )
    )
