"""Parsers of untrusted input accept any input or refuse it with their own error.

The corpus contains the inputs with which coverage-guided fuzzing (`scripts/testing/fuzz.py`) reached new code, and
whether each was accepted. The tests also try valid inputs with a few bytes or values changed.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing.corpus import read_corpus
from fuzzing.targets import TARGETS

TOKENS = (
    b"", b"\0", b"\n", b"\n\n", b" ", b"\xff", b"\xed\xa0\x80", "\u2014".encode(), b"-", b"+", b"0", b"00", b"9" * 25, b"1e999",
    b"null", b"{}", b"[]", b'"', b"=", b",", b"/", b"../", b"=" * 3, b"[" * 600, b"x" * 300,
)  # fmt: skip
STRANGE: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 0.5, 1e300, 2**53, 2**64, 10**30, "", "\0", "\ud800", "x" * 300, "1e999", "NaN", [], {}, [[]], {"$file": {}}]
) | st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "]" * depth))  # fmt: skip


@st.composite
def changed_bytes(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw a seed with up to four parts replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        data = data[:start] + draw(st.sampled_from(TOKENS) | st.binary(max_size=6)) + data[end:]
    return data


@st.composite
def changed_values(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw a JSON seed with a value replaced or removed."""
    document = {"": json.loads(draw(st.sampled_from(seeds)))}
    above: Any = document
    key: Any = ""
    while isinstance(above[key], dict | list) and above[key] and draw(st.booleans()):
        above = above[key]
        key = draw(st.sampled_from(sorted(above) if isinstance(above, dict) else range(len(above))))
    if key != "" and draw(st.integers(0, 4)) == 0:
        del above[key]
    else:
        above[key] = draw(STRANGE)
    return json.dumps(document.get("")).encode()


def is_json(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict | list)
    except ValueError:
        return False


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_from_fuzzing_have_the_same_result_as_before(name):
    """They raise no error other than the parser's own."""
    target = TARGETS[name]
    assert any(target.accepts(seed) for seed in target.seeds()), (
        "no seed is accepted: the target tries nothing"
    )
    inputs = read_corpus(name)
    judged = {entry.data: target.accepts(entry.data) for entry in inputs}
    assert judged == {entry.data: entry.accepted for entry in inputs}


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_input_is_accepted_or_refused(name):
    seeds = list(TARGETS[name].seeds())
    changed = changed_bytes(seeds)
    if documents := [seed for seed in seeds if is_json(seed)]:
        changed |= changed_values(documents)

    @settings(deadline=5000, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(changed)
    def feed(data: bytes) -> None:
        TARGETS[name].accepts(data)

    feed()
