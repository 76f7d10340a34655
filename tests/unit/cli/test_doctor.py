"""The output of the doctor's diagnostics."""

from __future__ import annotations

from typing import Any

import pytest

from agent.cli.commands.machine import doctor
from agent.diagnostics import ok
from agent.miner.doctor.diagnostics import found


def test_faults_come_first_and_their_text_is_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets contain the names of extras."""
    reasons = "install the extra: pip install 'aitbc-agent[whisper]'."
    doctor._print([ok("python", "Python 3."), found("service_unavailable", service="llm", reasons=reasons)])
    first, second, third, _, last = map(str.strip, capsys.readouterr().out.splitlines())
    assert first.startswith("warning  llm is not offered. (service_unavailable)")
    assert second == f"→ {reasons}"
    assert third == "ok       Python 3."
    assert last == "1 warning. Warnings do not prevent work."


@pytest.mark.parametrize(
    ("faults", "warnings", "words"),
    [
        (0, 0, "No problems found."),
        (0, 2, "2 warnings. Warnings do not prevent work."),
        (1, 0, "1 fault. Faults prevent this machine from working."),
        (2, 1, "2 faults and 1 warning. Faults prevent this machine from working."),
    ],
)
def test_the_last_line_counts_the_diagnostics(faults: int, warnings: int, words: str) -> None:
    diagnostics: list[Any] = [found("no_service")] * faults + [found("sandbox_off")] * warnings
    assert doctor._summary(diagnostics) == words
