"""What a miner returns about the tokens of an answer, so that another can check it: their numbers, and the most likely tokens at each.

In JSON: the numbers as 32-bit integers and the log-probabilities as 16-bit floats, little-endian, in base64; 45 bytes a token.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

TOP = 5
"""Most likely tokens whose log-probabilities are returned for each token of an answer."""

MAX_TOKENS = 16_384
"""Tokens of all answers together that evidence can hold. Of longer answers it has the beginning."""

MOST = 0.01
"""Greatest log-probability that is taken for 0, rounded."""

LEAST = -1e4
"""Log-probability that stands for minus infinity, which JSON and comparisons cannot hold."""


@dataclass(frozen=True, slots=True)
class TokenEvidence:
    """A token of an answer, and the model's most likely tokens there with their log-probabilities, at most `TOP`."""

    token: int
    top: tuple[tuple[int, float], ...]


@dataclass(slots=True)
class AnswerEvidence:
    """The evidence about one answer, token by token. `complete` is false if the engine has not reported some of its tokens."""

    tokens: list[TokenEvidence] = field(default_factory=list)
    complete: bool = True

    def to_json(self, limit: int = MAX_TOKENS) -> dict[str, Any]:
        """Return it as JSON with at most so many tokens."""
        tokens = self.tokens[:limit]
        numbers, chances = list[int](), list[float]()
        for token in tokens:
            numbers.append(token.token)
            # A fixed length for each token keeps the packed form free of lengths.
            padded = [*token.top[:TOP], *[(token.token, LEAST)] * TOP][:TOP]
            numbers += [number for number, _ in padded]
            chances += [max(LEAST, chance) for _, chance in padded]
        return {
            "tokens": _text(struct.pack(f"<{len(numbers)}I", *numbers)),
            "logprobs": _text(struct.pack(f"<{len(chances)}e", *chances)),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AnswerEvidence:
        """Read what `to_json` has written. Raises `ValueError` or `TypeError` for everything else."""
        packed = [base64.b64decode(values[name], validate=True) for name in ("tokens", "logprobs")]
        # Checked before unpacking: the evidence comes from a stranger.
        if len(packed[0]) % (4 * (TOP + 1)) or len(packed[1]) * 2 * (TOP + 1) != len(packed[0]) * TOP:
            raise ValueError("The evidence about an answer has a wrong length.")
        numbers = iter(struct.unpack(f"<{len(packed[0]) // 4}I", packed[0]))
        chances = struct.unpack(f"<{len(packed[1]) // 2}e", packed[1])
        if not all(chance <= MOST for chance in chances):
            raise ValueError("A log-probability is greater than 0, or not a number.")
        return cls([*_tokens(numbers, iter(chances))])


def _tokens(numbers: Iterator[int], chances: Iterator[float]) -> Iterator[TokenEvidence]:
    for token in numbers:
        top = zip(islice(numbers, TOP), islice(chances, TOP), strict=True)
        yield TokenEvidence(token, tuple((number, chance) for number, chance in top if chance > LEAST))


def evidence_of(
    answers: Sequence[AnswerEvidence], *, engine: str, precision: str, seeded: bool
) -> dict[str, Any] | None:
    """Return the evidence of a run, None if the engine has not reported all tokens.

    `seeded` states that the tokens were chosen by the seed of the run.
    """
    if not all(answer.complete and answer.tokens for answer in answers):
        return None
    limit = MAX_TOKENS // len(answers)
    return {
        "engine": engine,
        "precision": precision,
        "seeded": seeded,
        "answers": [answer.to_json(limit) for answer in answers],
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
