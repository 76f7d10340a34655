"""The arguments of calls in a conversation, which clients send back as text.

Chat templates read them, and engines have parsers of their own: what not all of them can read is refused when a job is submitted.
"""

from __future__ import annotations

import json
import math
from typing import NoReturn

NONE = "{}"
"""The arguments of a call without any, which several models and clients write as an empty text."""

MAX_DEPTH = 64
"""Levels of nesting, as in other JSON of a request."""


def arguments_text(text: str) -> str:
    """Return the arguments of a call as the text of a JSON object. Raises `ValueError` if they are none."""
    if not text.strip():
        return NONE
    try:
        value = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, parse_int=lambda digits: int(_finite(digits))
        )
        json.dumps(value, ensure_ascii=False).encode()  # fails for half of a surrogate pair
    except (ValueError, RecursionError):
        value = None
    # Deeper JSON exceeds the recursion limit of some templates and engines.
    if not isinstance(value, dict) or _depth(value) > MAX_DEPTH:
        raise ValueError(
            'must be the text of a JSON object, such as {"city": "Paris"}; if the model\'s answer was cut off, leave the call out'
        )
    return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _depth(value: object) -> int:
    """Return how deep a JSON value is nested."""
    depth, level = 0, [value]
    while level:
        parts = [part for part in level if isinstance(part, dict | list)]
        level = [child for part in parts for child in (part.values() if isinstance(part, dict) else part)]
        depth += bool(parts)
    return depth
