"""How a model writes calls of functions, read from its chat template.

A call that must follow a grammar is written as the model has learned it, if that is a JSON object between fixed texts: a model that may
also answer in another form would otherwise hardly ever call.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Final

Render = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], str]
"""Returns the prompt of a conversation, given its messages and tools. Raises `ValueError` if the template refuses them."""


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """A call is `prefix`, name, `middle`, arguments as a JSON object, `suffix`; `separator` stands between two. None: the model writes one call only."""

    prefix: str = '{"name": "'
    middle: str = '", "arguments": '
    suffix: str = "}"
    separator: str | None = "\n"


PLAIN: Final = CallSyntax()
"""The syntax for templates with another one."""

_TEXT: Final = "zztext"
_NEXT: Final = "zznext"
_NAMES: Final = ("zzfirst", "zzsecond")
_ARGUMENTS: Final = '{"zzname": "zzvalue"}'
_CALL: Final = r'(.*){}(.*?)\{{\s*"zzname"\s*:\s*"zzvalue"\s*\}}'
"""Texts that no template contains, and a call with them."""


def read_syntax(render: Render, is_words: Callable[[str], bool]) -> CallSyntax:
    """Return how the model of a chat template writes calls. `is_words` returns whether a text has no control tokens, which no grammar of texts contains."""
    syntax = PLAIN
    for count in (2, 1):
        try:
            text, calls = (render(_conversation(count, called=called), _TOOLS) for called in (False, True))
        except ValueError:  # templates of models that write one call only refuse more
            syntax = replace(PLAIN, separator=None)
            continue
        read = _between(text, calls, count)
        return read if read is not None and is_words("".join(filter(None, astuple(read)))) else syntax
    return syntax


def _conversation(count: int, *, called: bool) -> list[dict[str, Any]]:
    calls = [
        # An id of nine letters and digits is one that all templates accept.
        {"id": f"call0000{number}", "type": "function", "function": {"name": name, "arguments": _ARGUMENTS}}
        for number, name in enumerate(_NAMES[:count])
    ]
    question = {"role": "user", "content": "zzquestion"}
    if not called:
        return [question, {"role": "assistant", "content": _TEXT}, {"role": "user", "content": _NEXT}]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": _NEXT} for call in calls]
    return [question, {"role": "assistant", "content": "", "tool_calls": calls}, *results]


_TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "",
            "parameters": {"type": "object", "properties": {"zzname": {"type": "string"}}},
        },
    }
    for name in _NAMES
]


def _between(text: str, calls: str, count: int) -> CallSyntax | None:
    """Return the syntax of the calls in a prompt, None if they are not JSON between fixed texts. `text` is a prompt with a text instead."""
    head, mark, tail = text.partition(_TEXT)
    # The tools, whose names are also in the prompt, come before the turn.
    turn = calls[_common(head, calls) :]
    match = re.fullmatch("".join(map(_CALL.format, _NAMES[:count])) + "(.*)", turn, re.DOTALL)
    if match is None or not mark:
        return None
    prefix, middle, *between, last = match.groups()
    prefix = prefix.lstrip()
    # The turn ends where the rest of the prompt is most like what follows a text.
    end = max(range(len(last)), key=lambda start: _common(last[start:], tail), default=0)
    suffix = last[:end].rstrip()
    if not between:
        return CallSyntax(prefix, middle, suffix, None)
    joint, second_middle = between
    if second_middle != middle or not (joint.startswith(suffix) and joint.endswith(prefix)):
        return None
    return CallSyntax(prefix, middle, suffix, joint[len(suffix) : len(joint) - len(prefix)])


def _common(first: str, second: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
