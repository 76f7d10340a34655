"""docs/explanation/threat-model.md refers to existing tests, so that a reader can check each line."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/explanation/threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w./-]+test[\w.]*\.(?:py|ts))(?:::(\w+))?`", PAGE)
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| attack ")]


def test_every_attack_has_a_test():
    assert len(ROWS) > 40
    assert [row for row in ROWS if not re.search(r"test[\w.]*\.(py|ts)", row.split(" | ")[-1])] == []


def test_the_named_tests_exist():
    for path, name in sorted(set(NAMED)):
        source = (TESTS / path).resolve().read_text(encoding="utf-8")
        if name:
            assert re.search(rf"def {name}\w*\(", source), f"{path} has no {name}"
