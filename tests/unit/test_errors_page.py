"""docs/reference/errors.md explains every error and its remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agent.core.errors import answerable

ROOT = Path(__file__).parents[2]


def test_every_error_has_a_remedy() -> None:
    """Each error has its own: a special case does not inherit the remedy of its kind."""
    assert [code for code, kind in answerable().items() if not vars(kind).get("remedy")] == []


def test_the_page_is_generated_from_the_code() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "pages" / "errors_docs.py"), "--check"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    text = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    for code, kind in answerable().items():
        assert f"| `{code}` | {kind.status} |" in text
