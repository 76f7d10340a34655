"""The report of a campaign."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """The outcome of one campaign. `seconds` by kind include the time until work resumed."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    accepted: int = 0
    jobs: dict[str, int] = field(default_factory=dict)
    lives: int = 0
    duration: float = 0.0

    def lines(self) -> list[str]:
        """Return a Markdown table and the result."""
        rows = [
            f"| {kind} | {count} | {self.seconds[kind] / count:.1f} s |"
            for kind, count in sorted(self.faults.items())
        ]
        jobs = ", ".join(f"{count} {state}" for state, count in sorted(self.jobs.items()) if count)
        summary = (
            f"Seed {self.seed}: {sum(self.faults.values())} faults in {self.duration / 60:.1f} minutes, {self.lives} lives of "
            f"processes, faults at {len(self.points)} points."
        )
        return [
            summary,
            "",
            "| fault | times | mean time until work resumed |",
            "|---|---|---|",
            *rows,
            "",
            f"{self.accepted} jobs accepted ({jobs}).",
            "Nothing was lost." if not self.found else f"FOUND: {len(self.found)}",
            *(f"* {fault}" for fault in self.found),
        ]
