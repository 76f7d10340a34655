"""Whether tokens were drawn from the stated distributions: honest draws of any temperature, and those of other samplers."""

from __future__ import annotations

import math
import random

import pytest

from runners.llm.evidence import TOP, TokenEvidence
from runners.llm.request import InferenceRequest
from runners.llm.sampling import samples_plainly, sampling_distance

WORDS = 80
"""Tokens of the imagined vocabulary."""


def request(**fields):
    return InferenceRequest(**{"model": "m", "prompt": "p", "temperature": 0.8, **fields})


def distribution(chance):
    """Return log-probabilities that fall as those of languages do, more steeply or less from position to position."""
    steep = chance.uniform(1.2, 3.5)
    weights = [chance.uniform(0.5, 1) / (rank + 1) ** steep for rank in range(WORDS)]
    total = sum(weights)
    return [math.log(weight / total) for weight in weights]


def drawn(logprobs, chance, temperature, top_k=0, top_p=1.0):
    """Draw a token as samplers do: temperature, then top_k, then top_p."""
    ranked = sorted(range(WORDS), key=lambda number: -logprobs[number])
    if temperature == 0:
        return ranked[0]
    weights = [math.exp(logprobs[number] / temperature) for number in ranked]
    if top_k:
        ranked, weights = ranked[:top_k], weights[:top_k]
    total, count, reached = sum(weights), 0, 0.0
    while reached < top_p * total and count < len(weights):
        reached += weights[count]
        count += 1
    return chance.choices(ranked[:count], weights[:count])[0]


def evidence(logprobs, token):
    best = sorted(range(WORDS), key=lambda number: -logprobs[number])[:TOP]
    return TokenEvidence(token, tuple((number, logprobs[number]) for number in best))


def answer(seed, tokens, temperature, choose=None, **options):
    chance = random.Random(seed)  # noqa: S311 - repeatable
    found = []
    for _ in range(tokens):
        logprobs = distribution(chance)
        chosen = logprobs if choose is None else choose(logprobs, chance)
        found.append(evidence(logprobs, drawn(chosen, chance, temperature, **options)))
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.3},
        {"temperature": 0.8},
        {"temperature": 1},
        {"temperature": 1.7},
        {"temperature": 1.7, "top_k": 40},
        {"temperature": 0.8, "top_k": 3},
        {"temperature": 0.9, "top_p": 0.9},
        {"temperature": 0.7, "top_k": 20, "top_p": 0.8},
    ],
)
def test_honest_draws_reach_a_distance_as_rarely_as_its_definition_says(fields):
    asked = request(**fields)
    found = [sampling_distance(asked, answer(seed, 40, **fields)) for seed in range(100)]
    for distance in (0.5, 1, 2):
        # The number is at most binomial: four standard deviations above its mean.
        share = 10**-distance
        assert sum(one >= distance for one in found) <= 100 * share + 4 * math.sqrt(100 * share * (1 - share))


@pytest.mark.parametrize(
    "fields", [{"temperature": 0.8}, {"temperature": 1}, {"temperature": 0.9, "top_p": 0.95}]
)
def test_other_choices_are_found(fields):
    asked = request(**fields)
    greedy = answer(1, 300, 0)
    assert sampling_distance(asked, greedy) > 6
    foreign = answer(3, 200, choose=lambda logprobs, chance: chance.sample(logprobs, WORDS), **fields)
    assert sampling_distance(asked, foreign) > 6


def test_tokens_that_top_k_excludes_are_found():
    asked = request(temperature=1, top_k=2)
    assert sampling_distance(asked, answer(4, 60, 1)) > 6


def test_extreme_numbers_have_a_distance():
    for temperature in (0.01, 2):
        asked = request(temperature=temperature)
        tokens = [TokenEvidence(7, ((7, -60_000.0), (8, -60_001.0))), TokenEvidence(7, ((8, 0.0),))]
        assert math.isfinite(sampling_distance(asked, tokens))


def test_only_plain_sampling_is_tested():
    token = TokenEvidence(1, ((1, -0.1),))
    assert samples_plainly(request(), [token])
    assert not samples_plainly(request(), [token, TokenEvidence(2, ())])
    for fields in (
        {"temperature": 0}, {"presence_penalty": 1}, {"frequency_penalty": 1}, {"repetition_penalty": 1.1},
        {"logit_bias": {"1": 1}}, {"response_schema": {"type": "boolean"}},
    ):  # fmt: skip
        assert not samples_plainly(request(**fields), [token])
