"""The generated reference pages are complete: every error with its remedy, every diagnostic of the doctor."""

from __future__ import annotations

from pathlib import Path

from agent.core.errors import answerable
from agent.miner.doctor.diagnostics import KINDS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_every_error_has_a_remedy() -> None:
    """Each error has its own: a special case does not inherit the remedy of its kind."""
    assert [code for code, kind in answerable().items() if not vars(kind).get("remedy")] == []


def test_the_page_of_errors_has_every_code_and_its_status() -> None:
    text = (REFERENCE / "errors.md").read_text("utf-8")
    for code, kind in answerable().items():
        assert f"| `{code}` | {kind.status} |" in text


def test_the_page_of_the_doctor_has_every_diagnostic() -> None:
    page = (REFERENCE / "doctor.md").read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in page for kind in KINDS)
