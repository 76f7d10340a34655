"""How the help names what an option takes: a word for people instead of a type, and nothing for a switch."""

from __future__ import annotations

import re
from typing import Any

_TYPE = re.compile(r"<(?:list\[)?(?P<name>[^\]>]*)\]?>")
_WORDS = {"str": "TEXT", "int": "N", "int range": "N", "float": "NUMBER", "float range": "NUMBER"}


def with_plain_types(command: Any) -> Any:
    """Return the command, or the group with its commands, whose help names no types. Uses no types of the library, which differ between versions."""
    for below in getattr(command, "commands", {}).values():
        with_plain_types(below)
    parameters_of = command.get_params
    command.get_params = lambda context: [plain(parameter) for parameter in parameters_of(context)]
    return command


def plain(parameter: Any) -> Any:
    """Return the parameter, whose help has a word for its values instead of a type."""
    if "display_type_rich" not in vars(parameter) and hasattr(parameter, "display_type_rich"):
        type_of = parameter.display_type_rich
        parameter.display_type_rich = lambda ctx: _word(parameter, type_of(ctx=ctx))
        # The word has the limits already.
        parameter._get_number_range_help_str = lambda: None  # noqa: SLF001 - the library has no public way
    return parameter


def _word(parameter: Any, shown_type: str | None) -> str | None:
    # An argument's name says what it is, and a switch takes nothing.
    if parameter.param_type_name == "argument" or parameter.is_flag:
        return None
    match = _TYPE.fullmatch(shown_type or "")
    if match is None:
        return shown_type
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is not None and high is not None:
        return f"{low}..{high}"
    return _WORDS.get(match["name"], match["name"] if "|" in match["name"] else match["name"].upper())
