"""Tests whether the tokens of an answer can have been drawn from the distributions that its miner states.

Where an engine's sampler does not follow a seed that the auditor knows, nobody can repeat the choice of a token. But the choice has a
known distribution: the stated log-probabilities, at the temperature of the request. Tokens that another model chose, or always the most
likely ones, have another. The test is a likelihood ratio: at each position, the probability of the token in an alternative, divided
by the greatest probability that it can have in an honest run. The expectation of the product is at most 1 in honest runs, so it exceeds
10^x with a probability of at most 10^-x (Markov's inequality), for answers of any length and however its positions depend on each other.

Only the most likely tokens are stated. So a token's probability among these is compared, and that of all others together, of which an upper
bound is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runners.llm.evidence import TokenEvidence
from runners.llm.request import InferenceRequest

ALTERNATIVES = (
    (0.85, 1.3), (0.7, 1.0), (0.7, 1.6), (0.5, 2.0), (0.3, 4.0), (1.0, 1.6), (1.0, 30.0),
    (2.0, 1.0), (4.0, 1.0), (16.0, 1.0),
)  # fmt: skip
"""What else may have chosen the tokens: to which power the probabilities of the stated ones are raised, and by what the odds of all others
are multiplied. Another model makes unlikely tokens more likely, a lower temperature less. The mean of the ratios is one test."""

UNLIKELY = 1e-3
"""Probability of tokens that `top_k` and `top_p` exclude, since two runs may order nearly equal tokens differently, and error of the
rounded probabilities of a position together."""

MOST = 100.0
"""Greatest logarithm of a weight, so that senseless log-probabilities have a distance too."""

VOCABULARY = 300_000
"""Tokens that no model exceeds."""


@dataclass(frozen=True, slots=True)
class _Honest:
    """The greatest probabilities in an honest run."""

    ranks: dict[int, int]
    """The rank of each stated token."""
    chances: Sequence[float]
    """Of each stated token among the stated ones, by rank."""
    unstated: float
    """Of all other tokens together."""


def samples_plainly(request: InferenceRequest, tokens: Sequence[TokenEvidence]) -> bool:
    """Return whether nothing but the model's probabilities, `temperature`, `top_k` and `top_p` decides the tokens of a request.

    Engines report no probabilities inside a character, and which tokens are left out depends on the choice.
    """
    changed = request.repetition_penalty != 1 or request.presence_penalty or request.frequency_penalty
    changed = changed or request.min_p or request.typical_p < 1 or request.mirostat
    return (
        request.temperature > 0
        and not changed
        and not request.restricts
        and all(token.top for token in tokens)
    )


def sampling_distance(request: InferenceRequest, tokens: Iterable[TokenEvidence]) -> float:
    """Return x such that an honest run has a distance of x or more with a probability of at most 10^-x; 0 if nothing is remarkable."""
    sums = [0.0] * len(ALTERNATIVES)
    for token in tokens:
        honest = _honest(request, token.top)
        rank = honest.ranks.get(token.token)
        for number, (power, odds) in enumerate(ALTERNATIVES):
            others_chance = odds * honest.unstated / (1 - honest.unstated + odds * honest.unstated)
            if rank is None:
                sums[number] += math.log(others_chance / honest.unstated)
            else:
                sums[number] += math.log((1 - others_chance) / (1 - honest.unstated)) + _gain(
                    honest.chances, rank, power
                )
    greatest = max(sums)
    # The logarithm of the mean, computed so that no power overflows.
    ratio = greatest + math.log(sum(math.exp(logarithm - greatest) for logarithm in sums) / len(sums))
    return round(max(0.0, ratio / math.log(10)), 6)


def _gain(chances: Sequence[float], rank: int, power: float) -> float:
    """Return the logarithm of a token's probability in an alternative, divided by the honest one."""
    total = math.log(sum(chance**power for chance in chances))
    return (power - 1) * math.log(chances[rank]) - total


def _honest(request: InferenceRequest, top: Sequence[tuple[int, float]]) -> _Honest:
    """Return the greatest honest probabilities. How that of the other tokens is distributed among them has bounds only."""
    ranked = sorted(top, key=lambda entry: -entry[1])
    best, last = ranked[0][1], ranked[-1][1]
    unstated = max(0.0, 1 - sum(math.exp(chance) for _, chance in ranked)) + UNLIKELY
    heat = 1 / request.temperature
    weights = [math.exp(max(-MOST, heat * (chance - best))) for _, chance in ranked]
    if heat >= 1:
        # A lower temperature favours likely tokens: all others are at most as likely as the last stated one.
        others_chance = math.exp(min(MOST, math.log(unstated) + heat * (last - best) - last))
    else:
        # A higher one favours many tokens.
        count = request.top_k or VOCABULARY
        others_chance = math.exp(min(MOST, math.log(count) + heat * (math.log(unstated / count) - best)))
    eligible = len(ranked)
    if 0 < request.top_k <= eligible:
        eligible, others_chance = request.top_k, 0.0
    total = sum(weights[:eligible])
    # `top_p` leaves the fewest tokens that have this share together, which is known between two bounds.
    least = next(
        (count for count in range(1, eligible + 1) if sum(weights[:count]) >= request.top_p * total), eligible
    )
    enough = (
        count
        for count in range(1, eligible + 1)
        if sum(weights[:count]) >= request.top_p * (total + others_chance)
    )
    if request.top_p < 1 and (count := next(enough, 0)):
        eligible, others_chance = count, 0.0
    remaining = sum(weights[:least])
    chances = [weight / remaining if rank < eligible else UNLIKELY for rank, weight in enumerate(weights)]
    share = min(1 - UNLIKELY, max(UNLIKELY, others_chance / (total + others_chance)))
    return _Honest({number: rank for rank, (number, _) in enumerate(ranked)}, chances, share)
