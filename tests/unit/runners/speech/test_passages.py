"""How a text is split into passages."""

from __future__ import annotations

import random

import pytest

from runners.speech.passages import LONGEST, SHORT, passages


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi.", ["Hi."]),
        ("Hi. How are you?", ["Hi. How are you?"]),
        (f"{'a' * SHORT}. Short one.", [f"{'a' * SHORT}.", "Short one."]),
        (f"Dr. {'a' * SHORT} met J. R. Smith at 9.30 a.m. in the U.S. office. Then", [
            f"Dr. {'a' * SHORT} met J. R. Smith at 9.30 a.m. in the U.S. office.", "Then",
        ]),
        (f"\u201c{'a' * SHORT}!\u201d he said. \u201c{'b' * SHORT}.\u201d", [
            f"\u201c{'a' * SHORT}!\u201d he said.", f"\u201c{'b' * SHORT}.\u201d",
        ]),
        (f"{'a' * SHORT}\nb\n\n{'c' * SHORT}", [f"{'a' * SHORT} b", "c" * SHORT]),
        (("\u4f60" * SHORT + "\u3002") * 2, ["\u4f60" * SHORT + "\u3002"] * 2),
        (f"* * *\n\n{'a' * SHORT}.\n\n* * *", [f"{'a' * SHORT}. * * *"]),
        ("?!", []),
    ],
)  # fmt: skip
def test_sentences_are_passages_unless_they_are_short(text: str, expected: list[str]) -> None:
    assert passages(text) == expected


def test_a_long_sentence_is_split_between_clauses_or_words() -> None:
    assert passages(f"{'word ' * 50}and, {'word ' * 50}") == [f"{'word ' * 50}and,", ("word " * 50).strip()]
    split = passages("word " * 500)
    assert all(len(passage) <= LONGEST for passage in split)
    assert " ".join(split) == ("word " * 500).strip()
    assert passages("x" * (LONGEST + 1)) == ["x" * LONGEST, "x"]


def test_no_letter_is_lost() -> None:
    chance = random.Random(7)  # noqa: S311 - of texts
    for _ in range(300):
        text = "".join(chance.choices("ab1.!?, \n\u3002\"'", k=chance.randint(1, 900)))
        split = passages(text)
        assert "".join(filter(str.isalnum, "".join(split))) == "".join(filter(str.isalnum, text))
        assert all(any(map(str.isalnum, passage)) for passage in split)
