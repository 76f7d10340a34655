"""Rates as settings."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from agent.coordinator.features.rate_limits.rates import Rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600 per minute", (600, 60)),
        ("1000 per 10 seconds", (1000, 10)),
        ("5 per s", (5, 1)),
        ("5 per 1 s", (5, 1)),
        ("1 per 2 hours", (1, 7200)),
    ],
)
def test_a_rate_is_parsed_as_people_write_it(text: str, rate: tuple[int, int]) -> None:
    adapter = TypeAdapter(Rate)
    parsed = adapter.validate_python(text)
    assert (parsed.amount, parsed.seconds) == rate
    assert adapter.validate_python(adapter.dump_python(parsed, mode="json")) == parsed


@pytest.mark.parametrize("text", ["600", "0 per minute", "600/minute", "-1 per s", "5 per day", 600, None])
def test_an_invalid_rate_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValidationError, match="600 per minute"):
        TypeAdapter(Rate).validate_python(text)
