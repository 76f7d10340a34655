"""Keeps text from outside from controlling a terminal.

Names, answers, logs and error messages come from miners, models, coordinators and files. `protect_terminal` guards what the program
writes to a terminal in any way, so that no command needs to remember it.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO, cast
from unicodedata import category

_ALLOWED = "\n\t"
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, and line ends that only some programs know."""
_LAST_WITHOUT_DANGER = "\x7e"


def harmless(text: str) -> str:
    """Return the text with replacements for characters that control a terminal or reorder its text, except line ends and tabs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if _controls(c) else c for c in text)


def _controls(character: str) -> bool:
    if " " <= character <= _LAST_WITHOUT_DANGER or character in _ALLOWED:
        return False
    # These reorder what stands after them, so that a name can look like another one.
    return character in _BIDIRECTIONAL or category(character) in _CATEGORIES


class _Guard:
    """A terminal's stream that writes only harmless text.

    rich, which replaces control characters itself (see `SafeConsole`) and writes its own, finds the stream below as `rich_proxied_file`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(harmless(text))
        # The caller counts what it has written, not what reached the terminal.
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def protect_terminal() -> None:
    """Guard standard output and standard error where they are a terminal. Pipes and files get the text as it is."""
    if sys.stdout.isatty():
        sys.stdout = cast("TextIO", _Guard(unguarded(sys.stdout)))
    if sys.stderr.isatty():
        sys.stderr = cast("TextIO", _Guard(unguarded(sys.stderr)))


def unguarded(stream: TextIO) -> TextIO:
    """Return the stream below a guard, for programs that write sequences of their own and replace those of others."""
    below: TextIO = getattr(stream, "rich_proxied_file", stream)
    return below
