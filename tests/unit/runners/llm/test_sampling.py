"""How tokens are drawn from a model's probabilities."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from runners.llm.engines.sampling import choose

DRAWS = 4000
ROWS = 40


def row(**fields):
    """The settings of one row of a batch."""
    chance = random.Random(0)  # noqa: S311 - the same draws in every run
    base = {
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
        "frequency_penalty": 0.0, "counts": None, "seen": None, "draw": chance.random,
    }  # fmt: skip
    return SimpleNamespace(**{**base, **fields})


def drawn(probabilities, **fields):
    """The share of each token in 4000 draws."""
    one = row(**fields)
    counts = Counter()
    for _ in range(DRAWS // ROWS):
        counts.update(choose(torch.tensor([probabilities] * ROWS).log(), [one] * ROWS))
    return [round(counts[token] / DRAWS, 2) for token in range(len(probabilities))]


def test_tokens_are_drawn_with_the_models_probabilities():
    probabilities = [0.1, 0.0, 0.5, 0.4]
    assert drawn(probabilities) == pytest.approx(probabilities, abs=0.03)
    assert drawn(probabilities, top_k=2) == pytest.approx([0, 0, 5 / 9, 4 / 9], abs=0.03)
    assert drawn(probabilities, top_p=0.85) == pytest.approx([0, 0, 5 / 9, 4 / 9], abs=0.03)
    assert drawn(probabilities, top_p=0.95) == pytest.approx(probabilities, abs=0.03)
    assert drawn(probabilities, top_p=0.01) == [0, 0, 1, 0]
    halved = [root / (0.1**2 + 0.5**2 + 0.4**2) for root in (0.1**2, 0, 0.5**2, 0.4**2)]
    assert drawn(probabilities, temperature=0.5) == pytest.approx(halved, abs=0.03)
    assert drawn(probabilities, draw=lambda: 1 - 2**-53) == [0, 0, 0, 1]
    assert drawn(probabilities, draw=lambda: 0.0) == [1, 0, 0, 0]


def test_top_p_of_a_flat_distribution_keeps_half_of_the_tokens():
    logits = torch.zeros(1, 5000)
    assert max(choose(logits.clone(), [row(top_p=0.5, draw=lambda: 0.9999999)])) == 4999
    logits += torch.arange(5000) * 1e-5  # without ties
    assert choose(logits.clone(), [row(top_p=0.5, draw=lambda: 0.0)])[0] == pytest.approx(2531, abs=20)
