"""Framing, limits and the marks of output files."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from runners.api import Device, Model, Tools
from runners.host.protocol import (
    TO_CHILD,
    TO_PARENT,
    Configure,
    Done,
    Error,
    Event,
    FileReference,
    Load,
    Progress,
    ProtocolError,
    Run,
    encode,
    file_references,
    plain_units,
    receive,
    replace_files,
)
from runners.plain_json import check_json


@pytest.mark.parametrize(
    "message",
    [
        Configure(tools=Tools(models_dir=Path("/m"), sandbox="off"), device=Device("cuda", "card", "GPU-1", 4)),
        Load(model=Model("tiny", Path("/m/tiny"), "source")),
        Load(model=None),
        Run(run_id="r", parameters={"a": [1, None]}, files={"f": Path("/f")}, output=Path("/o"), work=Path("/w"), timeout_seconds=1),
    ],
)  # fmt: skip
def test_the_child_reads_the_parents_messages(message):
    assert TO_CHILD.validate_json(encode(message)[4:]) == message


def feed(*chunks):
    """Return the result of `receive` for these bytes and the end of the stream."""

    async def read():
        stream = asyncio.StreamReader()
        for chunk in chunks:
            stream.feed_data(chunk)
        stream.feed_eof()
        return await asyncio.wait_for(receive(stream), 60)

    return asyncio.run(read())


@pytest.mark.parametrize(
    "message",
    [
        Progress(run_id="r", progress=3, units=Decimal("0.25")),
        Event(run_id="r", kind="token", data={"text": "é"}),
        Done(run_id="r", results={"a": 1}, units=Decimal(3), processing_time=0.5),
        Error(run_id=None, kind="retry", code="X", message="y"),
    ],
)
def test_the_parent_reads_the_childs_messages(message):
    frame = encode(message)
    assert feed(frame[:3], frame[3:]) == message


def test_the_end_of_the_stream_is_none_and_an_incomplete_frame_is_an_error():
    assert feed() is None
    with pytest.raises(ProtocolError):
        feed(encode(Error(run_id=None, kind="retry", code="X", message="y"))[:-1])


@pytest.mark.parametrize(
    "frame",
    [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x03\xff\xfe\xfd"],
)
def test_a_bad_frame_is_an_error(frame):
    with pytest.raises(ProtocolError):
        feed(frame)


@pytest.mark.parametrize(
    ("units", "text"),
    [("12.50", "12.5"), ("1E+1", "10"), ("0", "0"), ("0.1234567", "0.123457"), ("1e-9", "0"), ("100", "100")],
)
def test_units_are_plain_decimals_with_at_most_six_decimal_places(units, text):
    assert plain_units(Decimal(units)) == text


@pytest.mark.parametrize("units", ["-1", "NaN", "Infinity"])
def test_units_are_never_negative_or_nan(units):
    with pytest.raises(ValueError, match="zero or more"):
        plain_units(Decimal(units))
    with pytest.raises(ValidationError):
        Progress(run_id="r", progress=0, units=Decimal(units))


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 2**53, {1: 2}, {"$file": 1}, [{"a": {"$file": 1}}], "\ud800", {"\ud800": 1}, b"x", {1}, object()],
)  # fmt: skip
def test_values_that_canonical_json_does_not_support_are_refused(value):
    with pytest.raises(ValueError, match="it "):
        check_json({"value": value})


def test_nesting_is_bounded():
    value: object = 1
    for _ in range(100):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        check_json(value)


# The name that marks an output file is reserved; that it is refused is another test.
KEYS = st.text(st.characters(codec="utf-8")).filter(lambda key: key != "$file")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_plain_json_passes_and_arrives_unchanged(results):
    check_json(results)
    message = Done(run_id="r", results=results, units=Decimal(1), processing_time=1)
    assert TO_PARENT.validate_json(encode(message)[4:]).results == results


def mark(path):
    return {"$file": {"path": path, "media_type": "image/png", "name": path, "extra": {"seed": 1}}}


def test_output_files_are_found_in_order_and_replaced_in_place():
    results = {"images": [mark("b.png"), mark("a.png")], "note": "x"}
    assert [reference.path for reference in file_references(results)] == ["b.png", "a.png"]
    replaced = replace_files(results, lambda reference: {"name": reference.name})
    assert replaced == {"images": [{"seed": 1, "name": "b.png"}, {"seed": 1, "name": "a.png"}], "note": "x"}


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ""])
def test_a_reference_never_leads_out_of_the_output_directory(path):
    with pytest.raises(ProtocolError):
        FileReference(path=path, media_type="x/y", name="x").below(Path("/output"))


def test_a_malformed_file_mark_is_an_error():
    with pytest.raises(ProtocolError):
        list(file_references({"file": {"$file": {"path": 1}}}))
