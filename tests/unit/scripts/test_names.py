"""The script that counts names finds each kind of binding, and distinguishes comments from code."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

NAMES = runpy.run_path(str(Path(__file__).parents[3] / "scripts/names.py"))

SOURCE = """
import json as found
def make(found, *, one, **rest):
    held = [given for given in one]
    with open(held) as made, open(one) as jobs:
        if (left := made.read()):
            return left
    try:
        for done, job in rest:
            found.other = job
    except ValueError as known:
        raise
    match job:
        case {"a": taken, **others}:
            pass
        case [*used]:
            pass
"""


def test_all_kinds_of_bindings_are_counted():
    bound = {NAMES["bound_name"](node) for node in ast.walk(ast.parse(SOURCE))}
    assert bound - {None} == {
        "found", "one", "rest", "held", "given", "made", "jobs", "left", "done", "job", "known", "taken", "others", "used",
    }  # fmt: skip


def test_comments_and_code_are_counted_by_lines():
    assert NAMES["lines"]('# one\n"""a\nb"""\n\nx = (\n  # two\n  1,  # no line\n)\n') == (2, 5)
