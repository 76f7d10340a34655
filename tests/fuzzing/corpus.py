"""The corpus: a file per target with an input per line: `+` if it is accepted or `-` if it is refused, a space, the input in base64."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fuzzing.targets import TARGETS

DIRECTORY = Path(__file__).with_name("corpus")
_VERDICTS = {"+": True, "-": False}


@dataclass(frozen=True, slots=True)
class Entry:
    """An input, and whether its target accepts it."""

    data: bytes
    accepted: bool


def read_corpus(name: str) -> list[Entry]:
    """Return the inputs that fuzzing has found for a target."""
    path = DIRECTORY / f"{name}.txt"
    lines = path.read_text(encoding="ascii").splitlines() if path.is_file() else []
    return [Entry(base64.b64decode(line[2:], validate=True), _VERDICTS[line[0]]) for line in lines]


def write_corpus(name: str, inputs: Iterable[bytes]) -> int:
    """Replace the corpus of a target by these inputs with their current results. Returns their number."""
    target = TARGETS[name]
    lines = sorted(
        {f"{'+' if target.accepts(data) else '-'} {base64.b64encode(data).decode()}\n" for data in inputs}
    )
    DIRECTORY.mkdir(exist_ok=True)
    (DIRECTORY / f"{name}.txt").write_text("".join(lines), encoding="ascii")
    return len(lines)
