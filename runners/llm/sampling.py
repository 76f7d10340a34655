"""Tests whether the tokens of an answer can have been drawn from the distributions that its miner states.

Where an engine's sampler does not follow a seed that the auditor knows, nobody can repeat the choice of a token. But the choice has a
known distribution: the stated log-probabilities, at the temperature of the request. Tokens that another model chose, or always the most
likely ones, have another. The test is a likelihood ratio: at each position, the probability of the token in an alternative, divided
by the greatest probability that it can have in an honest run. The expectation of the product is at most 1 in honest runs, so it exceeds
10^x with a probability of at most 10^-x (Markov's inequality), for answers of any length and however its positions depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runners.llm.evidence import TokenEvidence
from runners.llm.request import InferenceRequest

POWERS = (0.5, 2.0, 4.0, 16.0)
"""Alternatives: the honest distribution with its probabilities raised to these powers, as at other temperatures."""

ODD = (0.05, 0.2)
"""Alternatives: this share of the tokens is chosen without regard to the model, as another model does."""

UNLIKELY = 1e-3
"""Probability of a token that `top_k` excludes, since two runs may order nearly equal tokens differently, and error of the rounded
probabilities of an answer's tokens together."""

LEAST = 1e-12
"""Least probability of an outcome in an honest run, so that ratios stay finite."""

MOST = 100.0
"""Greatest logarithm of a weight, so that senseless log-probabilities have a distance too."""

VOCABULARY = 300_000
"""Tokens that no model exceeds."""


def samples_plainly(request: InferenceRequest, tokens: Sequence[TokenEvidence]) -> bool:
    """Return whether nothing but the model's probabilities, `temperature`, `top_k` and `top_p` decides the tokens of a request.

    Engines report no probabilities inside a character, and which tokens are left out depends on the choice.
    """
    changed = request.repetition_penalty != 1 or request.presence_penalty or request.frequency_penalty
    restricted = request.logit_bias or request.schema_ is not None or request.tools
    return request.temperature > 0 and not changed and not restricted and all(token.top for token in tokens)


def sampling_distance(request: InferenceRequest, tokens: Iterable[TokenEvidence]) -> float:
    """Return x such that an honest run has a distance of x or more with a probability of at most 10^-x; 0 if nothing is remarkable."""
    sums = [0.0] * (len(POWERS) + len(ODD))
    for token in tokens:
        names, honest = _outcomes(request, token.top)
        chosen = names.get(token.token, len(honest) - 1)
        for number, other in enumerate(_alternatives(honest)):
            sums[number] += math.log(max(LEAST, other[chosen]) / honest[chosen])
    greatest = max(sums)
    ratio = greatest + math.log(sum(math.exp(found - greatest) for found in sums) / len(sums))
    return round(max(0.0, ratio / math.log(10)), 6)


def _outcomes(
    request: InferenceRequest, top: Sequence[tuple[int, float]]
) -> tuple[Mapping[int, int], list[float]]:
    """Return the number of each listed token, and the greatest probability of each in an honest run; the last is that of all others.

    The listed tokens are the most likely ones. How the probability of the others is distributed among them is unknown, so their part at
    the temperature of the request has bounds only. All is relative to the most likely token.
    """
    ranked = sorted(top, key=lambda entry: -entry[1])
    best, last = ranked[0][1], ranked[-1][1]
    others = max(0.0, 1 - sum(math.exp(chance) for _, chance in ranked))
    heat = 1 / request.temperature
    scaled = [math.exp(heat * (chance - best)) for _, chance in ranked]
    alike = math.exp(
        min(MOST, heat * (last - best) - last)
    )  # others as likely as the last token, for each unit of probability
    least, most = 0.0, (others + UNLIKELY) * alike
    if heat < 1:  # a higher temperature favours the unlikely ones, most if they are many
        least = 0.0 if request.top_k else others * alike
        count = request.top_k or VOCABULARY
        most = math.exp(min(MOST, math.log(count) + heat * (math.log((others + UNLIKELY) / count) - best)))
    if 0 < request.top_k <= len(ranked):
        scaled, most = scaled[: request.top_k], 0.0
    total = sum(scaled)
    # What `top_p` leaves is at least this share of the probability.
    honest = [one / (total + least) / request.top_p for one in scaled]
    honest += [UNLIKELY] * (len(ranked) - len(scaled))
    honest.append(max(UNLIKELY, most / (total + most) / request.top_p))
    return {number: index for index, (number, _) in enumerate(ranked)}, [
        min(1.0, max(LEAST, one)) for one in honest
    ]


def _alternatives(honest: Sequence[float]) -> Iterator[list[float]]:
    """Yield the distributions that are compared with the honest one. The mean of their ratios is one test."""
    for power in POWERS:
        yield _shares([chance**power for chance in honest])
    plain = _shares(honest)
    for odd in ODD:
        yield [(1 - odd) * chance + odd / len(plain) for chance in plain]


def _shares(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]
