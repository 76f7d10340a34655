"""The id that follows a job: how it is derived, and which headers are accepted."""

from __future__ import annotations

import re

import pytest

from agent.core.tracing import TRACE_ID, trace_id_in, trace_id_of
from agent.core.values.quantities import make_id

ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_jobs_trace_id_is_derived_from_its_id() -> None:
    job_id = make_id("job", 1_700_000_000.5, bytes(range(10)))
    other = make_id("job", 1_700_000_000.5, bytes(range(1, 11)))
    assert trace_id_of(job_id) == trace_id_of(job_id) != trace_id_of(other)
    assert re.fullmatch(TRACE_ID, trace_id_of(job_id))


@pytest.mark.parametrize("header", [f"00-{ID}-00f067aa0ba902b7-01", f" 00-{ID}-00f067aa0ba902b7-00 ", f"cc-{ID}-00f067aa0ba902b7-01-later"])  # fmt: skip
def test_a_valid_header_yields_its_trace_id(header: str) -> None:
    assert trace_id_in(header) == ID


@pytest.mark.parametrize(
    "header",
    [
        "",
        ID,
        f"ff-{ID}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID.upper()}-00f067aa0ba902b7-01",
        f"00-{ID}-00f067aa0ba902b7-01-more",
        f"00-{ID}-00f067aa0ba902b7",
        f"00-{ID[:-1]}-00f067aa0ba902b7-01",
        f"00-{ID}-00f067aa0ba902b7-01\r\nx: y",
        f"cc-{ID}-00f067aa0ba902b7-01-{'x' * 1000}",
    ],
)
def test_an_invalid_header_is_ignored(header: str) -> None:
    assert trace_id_in(header) is None
