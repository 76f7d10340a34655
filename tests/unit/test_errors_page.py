"""docs/reference/errors.md explains every error and its remedy."""

from __future__ import annotations

from pathlib import Path

from agent.core.errors import answerable

ROOT = Path(__file__).parents[2]


def test_every_error_has_a_remedy() -> None:
    """Each error has its own: a special case does not inherit the remedy of its kind."""
    assert [code for code, kind in answerable().items() if not vars(kind).get("remedy")] == []


def test_the_page_has_every_code_and_its_status() -> None:
    text = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    for code, kind in answerable().items():
        assert f"| `{code}` | {kind.status} |" in text
