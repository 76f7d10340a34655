"""Compares the answer of another miner with what the model expects: the rules, without an engine."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from runners.llm.engines.base import Reading
from runners.llm.evidence import AnswerEvidence, TokenEvidence
from runners.llm.request import InferenceRequest, InferenceResult

LEAST_TOKENS = 8
"""Tokens of an answer below which the distances say nothing."""

ALL = 256
"""Positions that an audit compares if the model reads the answer in one step."""

SOME = 16
"""Positions that it compares if each takes a step of the engine."""

LEAST_READ = 16
READ_POWER = 5
"""An audit in an engine that reads slowly ends at LEAST_READ + u^READ_POWER of the rest, for a uniform u: a sixth of a long answer on
average, and any token may be the last."""

MOST = 1.0
"""Greatest square of the difference of one log-probability that counts."""

SHARE_BELOW = 2 / 3
"""The distance of an answer is exceeded at a third of its positions. Where one token is nearly certain, the log-probabilities of all
others differ by much between honest runs, so that a mean over the positions is decided by few of them."""

MOST_MARGIN = 5.0
"""Greatest margin of one token that counts."""

SHARE = 10
"""An audit by reading costs a tenth of the tokens that it reads."""


@dataclass(frozen=True, slots=True)
class AuditedClaim:
    """What the audited miner states: its results, and the evidence about each answer. `seeded` states that the seed chose the tokens."""

    results: InferenceResult
    answers: Sequence[AnswerEvidence]
    engine: str
    precision: str
    seeded: bool


class Malformed(Exception):
    """The miner's results or evidence cannot be those of an honest run. The message is for people."""


def read_claim(results: Mapping[str, Any], evidence: Mapping[str, Any], answers: int) -> AuditedClaim:
    """Read what the miner states about `answers` answers. Raises `Malformed`."""
    try:
        stated = InferenceResult.model_validate(results)
        # A miner that sends more answers than were requested must not take more time.
        evident_answers = [AnswerEvidence.from_json(answer) for answer in evidence["answers"][: answers + 1]]
        named = str(evidence["engine"]), str(evidence["precision"]), evidence["seeded"] is True
    except (ValidationError, ValueError, KeyError, TypeError):
        raise Malformed("The results or the evidence are malformed.") from None
    if len(evident_answers) != answers or len(stated.all_answers) != answers:
        raise Malformed(f"The results or the evidence do not have {answers} answers.")
    return AuditedClaim(stated, evident_answers, *named)


def check_counts(claim: AuditedClaim, request: InferenceRequest, prompt: int) -> None:
    """Raise `Malformed` if the metered tokens are not those of the prompt and the answers."""
    usage = claim.results.usage
    if usage.prompt_tokens != prompt:
        raise Malformed(f"The prompt has {prompt} tokens, but {usage.prompt_tokens} are metered.")
    evident = sum(len(answer.tokens) for answer in claim.answers)
    # A token ends each answer, and those of a stop string are not reported.
    if not request.stops and usage.completion_tokens > evident + request.n:
        raise Malformed(f"The answers have {evident} tokens, but {usage.completion_tokens} are metered.")


def check_text(stated: Mapping[str, Any], text: str) -> None:
    """Raise `Malformed` unless an answer consists of parts of the text of its tokens. White space and punctuation may differ."""
    letters = _letters(text)
    for name in ("text", "reasoning"):
        if _letters(stated.get(name) or "") not in letters:
            raise Malformed(f"The {name} of the answer is not that of its tokens.")


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)


def chosen_positions(choice: str, answer: AnswerEvidence, *, partly: bool) -> list[int]:
    """Return the positions of an answer that an audit compares, ascending. They follow from `choice`, which the miner did not know.

    Positions without log-probabilities are left out: engines report none inside a character.
    """
    chance = random.Random(choice)  # noqa: S311 - the seed is the secret
    evident = [position for position, token in enumerate(answer.tokens) if token.top]
    if not partly:
        return sorted(chance.sample(evident, min(len(evident), ALL)))
    optional = max(0, len(evident) - LEAST_READ)
    evident = evident[: LEAST_READ + round(optional * chance.random() ** READ_POWER)]
    return sorted(chance.sample(evident, min(len(evident), SOME)))


@dataclass(slots=True)
class Difference:
    """The distances of an answer, position by position."""

    chances: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    worst: tuple[float, int, int] = (-1.0, 0, 0)
    """The greatest difference at a position, the position, and its token."""

    def add(self, position: int, claimed: TokenEvidence, reading: Reading) -> None:
        """Add a position. Tokens that the auditor's model does not list are at least as unlikely as the last one that it lists."""
        # Both sides state only the most likely tokens; this bound treats the unstated ones in favour of the miner.
        last = min(reading.top.values())
        apart = [
            min(MOST, (chance - reading.top.get(number, min(last, chance))) ** 2)
            for number, chance in claimed.top
        ]
        margin = 0.0
        if reading.margin is not None:
            margin = min(MOST_MARGIN, reading.margin)
            self.margins.append(margin)
        self.chances.append(sum(apart) / len(apart))
        position_chance = max(self.chances[-1], margin)
        if position_chance > self.worst[0]:
            self.worst = position_chance, position, claimed.token

    def distances(self) -> dict[str, float]:
        """Return the distance of the log-probabilities, and the mean margin of the tokens' choice if it is known.

        At each position, it is the mean square difference of the log-probabilities.
        """
        ordered = sorted(self.chances)
        distances = {"logprobs": round(ordered[min(len(ordered) - 1, int(SHARE_BELOW * len(ordered)))], 6)}
        if self.margins:
            distances["choice"] = round(sum(self.margins) / len(self.margins), 6)
        return distances

    def where(self, text: Callable[[Sequence[int]], str]) -> str:
        """Return which token differs most."""
        _, position, token = self.worst
        return f"token {position + 1}, {text([token])!r}"


def compared(
    positions: Sequence[int], claimed: AnswerEvidence, readings: Iterator[Reading], step: Callable[[], None]
) -> Difference:
    """Compare an answer at these positions. `step` is called after each reading, and while the engine is busy."""
    difference = Difference()
    remaining = iter(positions)
    for reading in readings:
        step()
        if not reading.top:  # the engine is busy with other requests
            continue
        position = next(remaining)
        difference.add(position, claimed.tokens[position], reading)
    return difference
