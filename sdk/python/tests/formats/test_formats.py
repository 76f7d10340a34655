"""Canonical JSON, base64, decimals, statements and prices have a single form, and any other form is refused."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitbc.canonical import b64decode, b64encode, canonical_json, parse_json
from aitbc.errors import FormatError
from aitbc.keys import format_vkey, miner_id, registration_payload
from aitbc.merkle import leaf_hash, node_hash, verify_inclusion
from aitbc.outputs import output_files
from aitbc.statement import NamedDigest, job_price, money, parse_statement


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**53, -(2**53), {1: "a"}, b"bytes", "\ud800", {"\ud800": 1}, Decimal(1)],
)
def test_values_that_json_cannot_represent_exactly_are_refused(value) -> None:
    with pytest.raises(FormatError):
        canonical_json({"value": value})


def test_deep_nesting_is_refused() -> None:
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(FormatError):
        canonical_json(deep)


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":2}', "NaN", "[Infinity]", "1e999", "", "{", '"\\ud800', b"\xff", "9" * 5000]
)
def test_ambiguous_json_is_refused(text) -> None:
    with pytest.raises(FormatError):
        parse_json(text)


def test_large_integers_become_floats_as_in_javascript() -> None:
    """The canonical form of 1e20 has no exponent, and must survive a round trip."""
    assert canonical_json(parse_json(canonical_json({"n": 1e20}))) == b'{"n":100000000000000000000}'


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), children, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_canonical_form_survives_a_round_trip(value) -> None:
    assert canonical_json(parse_json(canonical_json(value))) == canonical_json(value)


@given(st.binary(max_size=70))
def test_base64_round_trip(data: bytes) -> None:
    assert b64decode(b64encode(data)) == data


@pytest.mark.parametrize(
    "text", ["AA", "AB==", "AA==\n", " AA==", "A-==", "AA=", "AAB=", "AA==AA==", "AAAA=", "=", "é"]
)
def test_other_forms_of_base64_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        b64decode(text)


def test_miner_id_is_derived_from_the_key() -> None:
    """The expected id comes from openssl and coreutils: `openssl dgst -sha256 -binary | base32`."""
    assert miner_id(bytes(32)) == "miner_mzuhvlpymk6xo3epygfy5h4oea"


def test_registration_covers_nonce_origin_and_key() -> None:
    expected = f'{{"nonce":"n","origin":"o","public_key":"{b64encode(bytes(32))}"}}'
    assert registration_payload("n", "o", bytes(32)) == expected.encode()


@pytest.mark.parametrize("origin", ["", "\udc80", "two words", "a+b", "line\nbreak", "x" * 256])
def test_origin_that_breaks_a_vkey_is_refused(origin: str) -> None:
    with pytest.raises(FormatError):
        format_vkey(origin, bytes(32))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("1E+2", "100"),
        ("0.10", "0.1"),
        ("1E-8", "0.00000001"),
        ("0E-12", "0"),
        ("-1.50", "-1.5"),
    ],
)
def test_money_has_one_form(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "0.000000001"])
def test_money_that_cannot_be_paid_is_refused(amount: str) -> None:
    with pytest.raises(FormatError):
        money(Decimal(amount))


@pytest.mark.parametrize(
    ("units", "unit_price", "max_cost", "price"),
    [
        ("12.5", "0.0001", "1", "0.00125"),
        ("0.00000001", "0.00000001", "1", "0.00000001"),
        ("100", "0.1", "1", "1"),
        ("0", "0.1", "1", "0"),
        (
            "12345678901234567890.123456789",
            "0.12345678",
            "99999999999999999999",
            "1524157764060357776.40603578",
        ),
    ],
)
def test_price_rounds_up_to_eight_decimals_and_never_above_max_cost(
    units, unit_price, max_cost, price
) -> None:
    assert job_price(Decimal(units), Decimal(unit_price), Decimal(max_cost)) == Decimal(price)


def test_statement_survives_a_round_trip(statement) -> None:
    assert parse_statement(statement.to_payload()) == statement
    with_model = dataclasses.replace(statement, model=NamedDigest("tiny.en", "2" * 64), device_uuid="GPU-1")
    assert parse_statement(with_model.to_payload()) == with_model


def change(payload: bytes, path: str, value) -> bytes:
    """The canonical payload with the field at a dotted path replaced (or removed, for `...`)."""
    top = json.loads(payload)
    *parents, last = path.split(".")
    target = top
    for key in parents:
        target = target[int(key)] if isinstance(target, list) else target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return canonical_json(top)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "https://example.org/other"),
        ("predicate.model", ...),
        ("predicate.extra", 1),
        ("predicate.device.extra", 1),
        ("predicate.fence", 4),
        ("predicate.fence", "04"),
        ("predicate.price", "0.001250"),
        ("predicate.price", "1e-3"),
        ("predicate.price", "-1"),
        ("predicate.units", 12.5),
        ("predicate.units", "+12.5"),
        ("predicate.started_at", "2026-11-24T15:00:00+00:00"),
        ("predicate.started_at", "2026-02-30T15:00:00Z"),
        ("predicate.spec_digest", "A" * 64),
        ("predicate.miner_id", "miner_x"),
        ("predicate.job_id", "other"),
        ("predicate.service", ""),
        ("predicate.device.uuid", 1),
        ("predicate.inputs", {}),
        ("subject", []),
        ("subject.0.name", "other.json"),
        ("subject.1.digest", {"sha256": "1" * 64, "sha512": "2"}),
    ],
)
def test_deviating_statement_is_refused(statement, path: str, value) -> None:
    with pytest.raises(FormatError):
        parse_statement(change(statement.to_payload(), path, value))


def test_statement_in_other_bytes_is_refused(statement) -> None:
    """With white space, the same statement would have a second form."""
    with pytest.raises(FormatError):
        parse_statement(json.dumps(json.loads(statement.to_payload())).encode())


def test_inputs_are_sorted(statement) -> None:
    with pytest.raises(FormatError):
        dataclasses.replace(statement, inputs=(NamedDigest("b", "1" * 64), NamedDigest("a", "1" * 64)))


def test_output_files_have_the_order_of_the_canonical_form() -> None:
    def file(name: str, digit: str) -> dict:
        address = f"sha256:{digit * 64}"
        return {
            "artifact_id": address,
            "url": f"/v1/artifacts/{address}",
            "media_type": "a/b",
            "size": 1,
            "name": name,
        }

    results = {
        "video": file("v", "3"),
        "frames": [file("f1", "1") | {"frame": 1}, file("f2", "2")],
        "n": {"artifact_id": 1},
    }
    assert [item.name for item in output_files(results)] == ["f1", "f2", "v"]
    assert [item.name for item in output_files(parse_json(canonical_json(results)))] == ["f1", "f2", "v"]


@given(st.integers(1, 40), st.data())
def test_inclusion_proofs_of_any_tree(size: int, data) -> None:
    """Every leaf's path is accepted at its own index only."""

    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        split = 1 << (len(leaves) - 1).bit_length() - 1
        return node_hash(root(leaves[:split]), root(leaves[split:]))

    def path(leaves: list[bytes], index: int) -> list[bytes]:
        if len(leaves) == 1:
            return []
        split = 1 << (len(leaves) - 1).bit_length() - 1
        if index < split:
            return [*path(leaves[:split], index), root(leaves[split:])]
        return [*path(leaves[split:], index - split), root(leaves[:split])]

    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    hashes = path(leaves, index)
    assert verify_inclusion(leaves[index], index, size, hashes, root(leaves))
    assert verify_inclusion(leaves[index], other, size, hashes, root(leaves)) == (other == index)
    assert not verify_inclusion(leaves[index], index, size, [*hashes, leaves[0]], root(leaves))
    assert not verify_inclusion(leaves[index], index, 2 * size, hashes, root(leaves))
