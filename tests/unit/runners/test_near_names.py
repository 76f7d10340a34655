"""Suggestions for misspelt names take a bounded time."""

from __future__ import annotations

import difflib
import random
from typing import Any

import pytest

from runners.near_names import MAX_COMPARISONS, hint, nearest


def test_the_most_similar_name_is_suggested_or_one_that_begins_so() -> None:
    known = ["base", "tiny", "large-v3", "distil-large-v3"]
    assert nearest("larg-v3", known) == "large-v3"
    assert nearest("disti", known) == "distil-large-v3"
    assert nearest("xyz", known) is None
    assert hint("tinny", known) == " Did you mean tiny? There are: base, tiny, large-v3, distil-large-v3"


@pytest.mark.parametrize("length", [12, 100])
def test_attack_many_long_names_of_the_same_letters_are_not_all_compared(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []

    def close(name: str, known: list[str], **_: Any) -> list[str]:
        compared.extend((len(name), len(one)) for one in known)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", close)
    draw = random.Random(7)  # noqa: S311 - no secret
    letters = list("abcdefghij" * (length // 10) + "x" * (length % 10))
    known = ["".join(draw.sample(letters, length)) for _ in range(5000)]
    nearest("".join(draw.sample(letters, length)), known)
    assert 5 <= len(compared) <= 100
    assert sum(one * other for one, other in compared) <= MAX_COMPARISONS


def test_names_of_other_lengths_leave_the_similar_ones_their_turn() -> None:
    """They cannot be similar, so they are not counted either."""
    assert nearest("whisper-bse", ["x" * 90] * 900 + ["whisper-base"]) == "whisper-base"
