"""The log of a run within its limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.job_log import Line, LogBuffer, bounded

LIMIT = 1000


def lines(*texts: str) -> list[Line]:
    return [Line(1.0, "stdout", text) for text in texts]


@given(st.lists(st.text(max_size=400)))
def test_a_log_has_the_first_and_the_last_lines_within_its_limit(texts: list[str]) -> None:
    """In their order. Nothing is dropped unless it does not fit, and that is stated."""
    given_lines = lines(*texts)
    found, truncated = bounded(given_lines, LIMIT)
    assert sum(line.size for line in found) <= LIMIT
    assert truncated == (len(found) < len(given_lines))
    split = next((at for at, line in enumerate(found) if line is not given_lines[at]), len(found))
    tail = found[split:]
    assert tail == given_lines[len(given_lines) - len(tail) :]
    if sum(line.size for line in given_lines) <= LIMIT // 2:
        assert not truncated


def test_empty_lines_count_too() -> None:
    found, truncated = bounded(lines(*[""] * 1000), LIMIT)
    assert (len(found) <= LIMIT // 32, truncated) == (True, True)


def test_a_buffer_is_empty_until_something_was_written() -> None:
    buffer = LogBuffer(LIMIT)
    assert not buffer
    buffer.add(*lines(""))
    assert buffer


def test_cleaned_lines_have_no_controls_and_plausible_times() -> None:
    line = Line(5.0, "std\x1bout", "a\x00\tb\x9b").cleaned(10.0, 20.0)
    assert (line.time, line.source, line.text) == (10.0, "stdout", "a\tb")
    assert line.cleaned(1.0, 2.0).time == 2.0
