"""What is said of the model that a miner has chosen by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def model_choice(model: str | None, reason: str, removals: Sequence[str], *, only_shown: bool) -> str:
    """Return the choice as a sentence. `only_shown`: the owner wants to see it, and no more."""
    if model is None:
        return f"no model: {reason}"
    removed = f"; {', '.join(removals)} goes for it" if removals else ""
    return f"{'would fetch' if only_shown else 'fetches'} {model}: {reason}{removed}"


def in_one_line(choice: Mapping[str, Any]) -> str:
    """Return the line of the status."""
    sentence = model_choice(
        choice["model"], choice["reason"], choice["removals"], only_shown=choice["auto"] == "show"
    )
    return f"chooses models by itself: {sentence}"
