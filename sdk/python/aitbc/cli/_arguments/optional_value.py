"""Options with an optional value: `--srt` writes next to the input, `--srt talk.srt` to that file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from typer.core import TyperCommand

BESIDE = ""
"""The value of an option that was given without a value."""


class OptionalValues(TyperCommand):
    """A command with such options. The word after one of them is its value if it has one of the suffixes in `endings`."""

    endings: ClassVar[dict[str, tuple[str, ...]]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `TyperCommand.parse_args`."""
        return super().parse_args(ctx, list(self._with_values(args)))

    def _with_values(self, args: Sequence[str]) -> Iterator[str]:
        for position, word in enumerate(args):
            if word == "--":
                yield from args[position:]
                return
            following = args[position + 1] if position + 1 < len(args) else ""
            # An input may follow the option, and only its suffix shows that it is no subtitle file.
            alone = word in self.endings and not following.lower().endswith(self.endings[word])
            yield f"{word}={BESIDE}" if alone else word
