#!/usr/bin/env python3
"""Counts names that do not name the thing, comments, renamed imports, and names of several classes, in the product's code.

scripts/names.py          prints the figures; exit status 1 if one is beyond its limit
scripts/names.py PATH...  also lists what is counted in these files and folders

A figure that became better moves its limit, which may only become stricter.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PRODUCT: Final = ("agent", "runners", "sdk/python/aitbc", "extensions")
BARE: Final = frozenset(
    """
    after again all also another any asked before both done each either even found given gone got heard held here it just kept known left
    made many more most much neither new none old one only other others own put rest said same seen sent shown some still such taken that
    their theirs them then there these thing things this those two used wanted what when where which whole yet
    """.split()  # noqa: SIM905 - the words read best as text
)
"""Names without a noun. `now` is a time, `first` and `last` are the ends of a range, and `read` and `set` are verbs: they are not counted."""
PERCENT_BARE: Final = 0.5
COMMENTS: Final = 20
RENAMED_IMPORTS: Final = 39
REPEATED_CLASSES: Final = 79


def main() -> int:
    """Return the exit status."""
    within = [Path(argument).resolve() for argument in sys.argv[1:]]
    bindings: Counter[bool] = Counter()
    classes: Counter[str] = Counter()
    renamed, comments, code = 0, 0, 0
    for path in files():
        text = path.read_text(encoding="utf-8")
        notes = []
        for node in ast.walk(ast.parse(text)):
            if (name := bound_name(node)) is not None:
                bare = name.strip("_") in BARE and not name.startswith("__")
                bindings[bare] += 1
                notes += [f"{getattr(node, 'lineno', 0)}: {name}"] if bare else []
            elif isinstance(node, ast.ClassDef):
                classes[node.name] += 1
            elif isinstance(node, ast.Import | ast.ImportFrom):
                again = [item.asname for item in node.names if item.asname not in (None, item.name)]
                renamed += len(again)
                notes += [f"{node.lineno}: imported as {name}" for name in again]
        of_comments, of_code = lines(text)
        comments += of_comments
        code += of_code
        if any(path.is_relative_to(folder) for folder in within):
            print("".join(f"{path.relative_to(ROOT)}:{note}\n" for note in notes), end="")
    repeated = sorted(name for name, count in classes.items() if count > 1)
    if within:
        print("classes with the same name:", ", ".join(repeated))
    percent = round(100 * bindings[True] / bindings.total(), 2)
    per_thousand = round(1000 * comments / code, 2)
    print(f"bare names: {percent} % of all bindings (limit {PERCENT_BARE})")
    print(f"comments: {per_thousand} lines in 1,000 lines of code (at least {COMMENTS})")
    print(f"renamed imports: {renamed} (limit {RENAMED_IMPORTS})")
    print(f"names of several classes: {len(repeated)} (limit {REPEATED_CLASSES})")
    beyond = percent > PERCENT_BARE or renamed > RENAMED_IMPORTS or len(repeated) > REPEATED_CLASSES
    return int(beyond or per_thousand < COMMENTS)


def files() -> Iterator[Path]:
    """Yield the files of the product, without tests and migrations of the database."""
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not {"tests", "node_modules", "versions"} & set(path.parts):
                yield path


def bound_name(node: ast.AST) -> str | None:
    """Return the name that a node binds: a parameter, a target of any kind, or what a pattern captures."""
    match node:
        case (
            ast.arg(arg=str(name))
            | ast.Name(id=str(name), ctx=ast.Store())
            | ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            return name
    return None


def lines(text: str) -> tuple[int, int]:
    """Return how many lines are comments alone, and how many have code, docstrings included."""
    comments, code = 0, set[int]()
    blank = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments += not token.line[: token.start[1]].strip()
        elif token.type not in blank:
            code.update(range(token.start[0], token.end[0] + 1))
    return comments, len(code)


if __name__ == "__main__":
    sys.exit(main())
