"""How the doctor's diagnostics are shown, and that their page says the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.cli.commands import doctor
from agent.miner.doctor.diagnostics import KINDS, found, ok

ROOT = Path(__file__).parents[3]


def test_the_page_is_made_from_the_table() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "pages" / "doctor_docs.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (ROOT / "docs" / "reference" / "doctor.md").read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in page for kind in KINDS)


def test_what_is_wrong_comes_first_and_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are no markup: they are names of extras."""
    reasons = "install the extra: pip install 'aitbc-agent[whisper]'."
    doctor._print([ok("python", "Python 3."), found("service_unavailable", service="llm", reasons=reasons)])
    first, second, third, _, last = map(str.strip, capsys.readouterr().out.splitlines())
    assert first.startswith("warning  llm is not offered. (service_unavailable)")
    assert second == f"→ {reasons}"
    assert third == "ok       Python 3."
    assert last == "1 warning. None of them stops work."


@pytest.mark.parametrize(
    ("faults", "warnings", "words"),
    [
        (0, 0, "Nothing is wrong."),
        (0, 2, "2 warnings. None of them stops work."),
        (1, 0, "1 fault. Work would stop."),
        (2, 1, "2 faults and 1 warning. Work would stop."),
    ],
)
def test_the_last_line_counts(faults: int, warnings: int, words: str) -> None:
    told: list[Any] = [found("no_service")] * faults + [found("sandbox_off")] * warnings
    assert doctor._summary(told) == words
