"""The statement that a miner signs about a job (an in-toto Statement v1 with this network's predicate), and the job's price.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and docs/reference/miner-protocol.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

from aitbc._shape import FENCE, HEX_SHA256, JOB_ID, MINER_ID, exact, items, text, utc_time
from aitbc.canonical import canonical_json, parse_json
from aitbc.errors import FormatError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://aitbc.bubuit.net/job-receipt/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
ATTESTATION_TYPE = "application/vnd.aitbc.attestation+json"
REGISTRATION_TYPE = "application/vnd.aitbc.registration+json"
LOGIN_TYPE = "application/vnd.aitbc.login+json"
RESULT_NAME = "result.json"
"""The name of the first subject: the canonical JSON of the job's results."""
CLOCK_SKEW_SECONDS = 300
"""How far the times in a statement may lie outside its attestations, because the clocks of miner and coordinator differ."""

MONEY_DECIMALS = 8
UNIT_DECIMALS = 30
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,19})(\.[0-9]{0,29}[1-9])?")
_HEX_16 = re.compile(r"[0-9a-f]{32}")
_SANDBOX = re.compile(r"[a-z][a-z0-9-]{0,39}")
_CENT = Decimal(1).scaleb(-MONEY_DECIMALS)
_EXACT = Context(prec=120, rounding=ROUND_CEILING)
"""Precise enough for the product of any two accepted decimals, so that only the last step rounds."""


@dataclass(frozen=True, slots=True)
class NamedDigest:
    """A name and the SHA-256 (lower-case hex) of what it names: an output, an input, or a model's weights."""

    name: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the in-toto resource descriptor."""
        return {"name": self.name, "digest": {"sha256": self.sha256}}


@dataclass(frozen=True, slots=True)
class Sealing:
    """What a statement says about a sealed job: its request, and salted digests (hex) of the plaintexts.

    `inputs` and `outputs` are in the order of the sealed files. docs/reference/sealed-jobs.md defines the digests.
    """

    key_id: str
    request_id: str
    request: str
    results: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    version: int = 1

    def __post_init__(self) -> None:
        if self.version != 1:
            raise FormatError("The statement's sealed part is of a version that this program does not know.")
        for name in ("key_id", "request_id"):
            text(getattr(self, name), f"The statement's sealed {name}", _HEX_16)
        for digest in (self.request, self.results, *self.inputs, *self.outputs):
            text(digest, "A salted digest in the statement", HEX_SHA256)

    def to_json(self) -> dict[str, Any]:
        """Return the part of the predicate."""
        return {
            "version": self.version,
            "key_id": self.key_id,
            "request_id": self.request_id,
            "digests": {
                "request": self.request,
                "results": self.results,
                "inputs": list(self.inputs),
                "outputs": list(self.outputs),
            },
        }

    @classmethod
    def read(cls, value: object) -> Sealing:
        """Parse the part of a predicate. Raises `FormatError`."""
        subject = "The statement's sealed part"
        fields = exact(value, ("version", "key_id", "request_id", "digests"), subject)
        digests = exact(
            fields["digests"], ("request", "results", "inputs", "outputs"), f"{subject} (digests)"
        )
        return cls(
            version=fields["version"],
            key_id=fields["key_id"],
            request_id=fields["request_id"],
            request=digests["request"],
            results=digests["results"],
            inputs=tuple(items(digests["inputs"], f"{subject} (inputs)")),
            outputs=tuple(items(digests["outputs"], f"{subject} (outputs)")),
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """A miner's statement about one job. Times are RFC 3339 UTC strings, and amounts are exact decimals.

    `subject` starts with `result.json` (the canonical results), followed by the output files in the order of
    `aitbc.outputs.output_files`. `inputs` are sorted by name. `sandbox` is the isolation of the programs that read the client's files
    ("bubblewrap", "landlock" or "none"); it is None in statements of agents that did not report it. `evidence_sha256` is the digest of the
    canonical JSON that the miner returned with the results for a later audit. `sealed` is about the plaintexts of a sealed job, and
    `attestation` is what the machine attests about itself, as its plug-in defines it (`aitbc.sealing.attestation`). These three are
    None in most statements. Raises `FormatError` if a value cannot be signed.
    """

    subject: tuple[NamedDigest, ...]
    job_id: str
    miner_id: str
    fence: int
    origin: str
    spec_digest: str
    inputs: tuple[NamedDigest, ...]
    service: str
    runner_name: str
    runner_version: str
    model: NamedDigest | None
    device_kind: str
    device_name: str
    device_uuid: str | None
    started_at: str
    finished_at: str
    units: Decimal
    unit: str
    unit_price: Decimal
    price: Decimal
    sandbox: str | None = None
    evidence_sha256: str | None = None
    sealed: Sealing | None = None
    attestation: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.subject or self.subject[0].name != RESULT_NAME:
            raise FormatError(f"The statement's first subject is not {RESULT_NAME}.")
        # One order only, since two orders would be two statements about the same run.
        if list(self.inputs) != sorted(self.inputs, key=lambda item: item.name):
            raise FormatError("The statement's inputs are not sorted by name.")
        for item in (*self.subject, *self.inputs, *((self.model,) if self.model else ())):
            text(item.name, "A name in the statement")
            text(item.sha256, f"The digest of {item.name} in the statement", HEX_SHA256)
        text(self.job_id, "The statement's job_id", JOB_ID)
        text(self.miner_id, "The statement's miner_id", MINER_ID)
        text(str(self.fence), "The statement's fence", FENCE)
        text(self.spec_digest, "The statement's spec_digest", HEX_SHA256)
        for name in _TEXTS:
            text(getattr(self, name), f"The statement's {name}")
        if self.device_uuid is not None:
            text(self.device_uuid, "The statement's device_uuid")
        if self.sandbox is not None:
            text(self.sandbox, "The statement's sandbox", _SANDBOX)
        if self.evidence_sha256 is not None:
            text(self.evidence_sha256, "The statement's evidence_sha256", HEX_SHA256)
        utc_time(self.started_at, "The statement's started_at")
        utc_time(self.finished_at, "The statement's finished_at")
        parse_decimal(decimal_text(self.units), "The statement's units", UNIT_DECIMALS)
        parse_decimal(money(self.unit_price), "The statement's unit_price")
        parse_decimal(money(self.price), "The statement's price")

    def to_payload(self) -> bytes:
        """Return the canonical JSON that is signed."""
        predicate: dict[str, Any] = {
            "job_id": self.job_id,
            "miner_id": self.miner_id,
            "fence": str(self.fence),
            "origin": self.origin,
            "spec_digest": self.spec_digest,
            "inputs": [item.to_json() for item in self.inputs],
            "service": self.service,
            "runner": {"name": self.runner_name, "version": self.runner_version},
            "model": self.model.to_json() if self.model else None,
            "device": {"kind": self.device_kind, "name": self.device_name, "uuid": self.device_uuid},
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "units": decimal_text(self.units),
            "unit": self.unit,
            "unit_price": money(self.unit_price),
            "price": money(self.price),
        }
        # Old statements must keep their bytes, and so their signatures: a field that they lack is left out, never null.
        if self.sandbox is not None:
            predicate["sandbox"] = self.sandbox
        if self.evidence_sha256 is not None:
            predicate["evidence_sha256"] = self.evidence_sha256
        if self.sealed is not None:
            predicate["sealed"] = self.sealed.to_json()
        if self.attestation is not None:
            predicate["attestation"] = dict(self.attestation)
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [item.to_json() for item in self.subject],
                "predicateType": PREDICATE_TYPE,
                "predicate": predicate,
            }
        )


def parse_statement(payload: bytes) -> Statement:
    """Parse a signed payload. Raises `FormatError` unless it is byte for byte the output of `Statement.to_payload`."""
    top = exact(parse_json(payload), ("_type", "subject", "predicateType", "predicate"), "The statement")
    value = top["predicate"]
    # Only these may be missing; any other difference is an error, since it would not be understood and yet be signed.
    optional = [name for name in _OPTIONAL_FIELDS if isinstance(value, Mapping) and name in value]
    predicate = exact(value, (*_PREDICATE_FIELDS, *optional), "The statement's predicate")
    runner = exact(predicate["runner"], ("name", "version"), "The statement's runner")
    device = exact(predicate["device"], ("kind", "name", "uuid"), "The statement's device")
    model = predicate["model"]
    statement = Statement(
        subject=_digests(top["subject"], "subject"),
        job_id=predicate["job_id"],
        miner_id=predicate["miner_id"],
        # Text in JSON, as a number could lose its last digit in another language.
        fence=int(text(predicate["fence"], "The statement's fence", FENCE)),
        origin=predicate["origin"],
        spec_digest=predicate["spec_digest"],
        inputs=_digests(predicate["inputs"], "inputs"),
        service=predicate["service"],
        runner_name=runner["name"],
        runner_version=runner["version"],
        model=None if model is None else _digest(model, "The statement's model"),
        device_kind=device["kind"],
        device_name=device["name"],
        device_uuid=device["uuid"],
        started_at=predicate["started_at"],
        finished_at=predicate["finished_at"],
        units=parse_decimal(predicate["units"], "The statement's units", UNIT_DECIMALS),
        unit=predicate["unit"],
        unit_price=parse_decimal(predicate["unit_price"], "The statement's unit_price"),
        price=parse_decimal(predicate["price"], "The statement's price"),
        sandbox=text(predicate["sandbox"], "The statement's sandbox", _SANDBOX)
        if "sandbox" in optional
        else None,
        evidence_sha256=text(predicate["evidence_sha256"], "The statement's evidence_sha256", HEX_SHA256)
        if "evidence_sha256" in optional
        else None,
        sealed=Sealing.read(predicate["sealed"]) if "sealed" in optional else None,
        attestation=_attestation(predicate["attestation"]) if "attestation" in optional else None,
    )
    # Two texts with the same meaning would have two digests, and a receipt could be logged twice.
    if statement.to_payload() != payload:
        raise FormatError("The statement is not in its canonical form, or not of this network's type.")
    return statement


_OPTIONAL_FIELDS = ("sandbox", "evidence_sha256", "sealed", "attestation")
"""Fields that a statement without them omits, never sets to null."""

_TEXTS = ("origin", "service", "runner_name", "runner_version", "device_kind", "device_name", "unit")
"""Fields that may have any text."""

_PREDICATE_FIELDS = (
    *("job_id", "miner_id", "fence", "origin", "spec_digest", "inputs", "service", "runner", "model"),
    *("device", "started_at", "finished_at", "units", "unit", "unit_price", "price"),
)


def _attestation(value: object) -> Mapping[str, Any]:
    fields = exact(value, ("type", "evidence"), "The statement's attestation")
    text(fields["type"], "The type of the statement's attestation", _SANDBOX)
    if not isinstance(fields["evidence"], Mapping):
        raise FormatError("The evidence of the statement's attestation is not an object.")
    return fields


def _digests(value: object, subject: str) -> tuple[NamedDigest, ...]:
    return tuple(_digest(item, f"An entry of the statement's {subject}") for item in items(value, subject))


def _digest(value: object, subject: str) -> NamedDigest:
    fields: Mapping[str, Any] = exact(value, ("name", "digest"), subject)
    digest = exact(fields["digest"], ("sha256",), f"{subject} (digest)")
    return NamedDigest(
        text(fields["name"], f"{subject} (name)"), text(digest["sha256"], f"{subject} (sha256)", HEX_SHA256)
    )


def job_price(units: Decimal, unit_price: Decimal, max_cost: Decimal) -> Decimal:
    """Return the price of a job: units x unit price, rounded up to 8 decimals, but at most `max_cost`."""
    return min(uncapped_price(units, unit_price), max_cost)


def uncapped_price(units: Decimal, unit_price: Decimal) -> Decimal:
    """Return units x unit price, rounded up to 8 decimals."""
    if units < 0 or unit_price < 0:
        raise FormatError("Units and prices are not negative.")
    # Rounded once and at the end, as miners, coordinators and verifiers must all come to the same price.
    return _EXACT.multiply(units, unit_price).quantize(_CENT, context=_EXACT)


def money(amount: Decimal) -> str:
    """Format an amount of money in its canonical form: no exponent, no trailing zeros, at most 8 decimals.

    Raises `FormatError` for more decimals, because rounding is the caller's decision. Negative amounts (postings) are allowed.
    """
    result = decimal_text(amount)
    if _decimals(result) > MONEY_DECIMALS:
        raise FormatError(f"{result} has more than {MONEY_DECIMALS} decimals.")
    return result


def decimal_text(number: Decimal) -> str:
    """Format a decimal in its canonical form: no exponent, no trailing zeros. Raises `FormatError` for NaN and infinities."""
    if not number.is_finite():
        raise FormatError(f"{number} is not a number that can be signed.")
    # `str` would write small and large numbers with an exponent.
    result = format(number, "f")
    if "." in result:
        result = result.rstrip("0").rstrip(".")
    # Decimal has a negative zero, which must not be another text than zero.
    return "0" if result in {"-0", ""} else result


def parse_decimal(value: object, subject: str, decimals: int = MONEY_DECIMALS) -> Decimal:
    """Parse a decimal that is not negative from its canonical form. Raises `FormatError` that names `subject`."""
    result = text(value, subject, _DECIMAL)
    if _decimals(result) > decimals:
        raise FormatError(f"{subject} has more than {decimals} decimals.")
    return Decimal(result)


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])
