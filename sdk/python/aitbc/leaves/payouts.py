"""Payouts: the manifest of a batch, which is a leaf of the log, and the proof that a payment is part of it.

The coordinator signs a manifest by putting it into the log. It names the sum, the rate and the Merkle root (RFC 6962) over the
batch's payments, but no payment: each miner gets its own payment with a proof (`PayoutProof`), and each payment has a random salt, so
that nobody learns from a proof what others were paid. Verification needs only the log's public key.

A miner's payout address is a statement that its identity key signs (`PayoutAddress`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any

from nacl.signing import SigningKey

from aitbc._shape import HEX_SHA256, MINER_ID, exact, items, text, utc_time
from aitbc._verification.report import Check, VerificationReport
from aitbc.canonical import b64decode, b64encode, canonical_json, parse_json
from aitbc.dsse import open_envelope, sign_envelope
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import miner_id
from aitbc.log import parse_proof, require_inclusion
from aitbc.merkle import HASH_SIZE, fold, inclusion_proof, leaf_hash, root_hash, verify_inclusion
from aitbc.policy import Policy
from aitbc.statement import decimal_text, money, parse_decimal

MANIFEST_TYPE = "https://aitbc.bubuit.net/payout/v1"
PAYMENT_TYPE = "https://aitbc.bubuit.net/payout-payment/v1"
PROOF_TYPE = "https://aitbc.bubuit.net/payout-proof/v1"
ADDRESS_TYPE = "application/vnd.aitbc.payout-address+json"
ROUNDING = "down"
"""How an amount in the batch's currency is rounded to its decimals: towards zero."""

MAX_DECIMALS = 18
MAX_ADDRESS = 2000
_BATCH_ID = re.compile(r"batch_[0-9A-Za-z_-]{1,64}")
_PAYOUT_ID = re.compile(r"payout_[0-9A-Za-z_-]{1,64}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CURRENCY = re.compile(r"[A-Za-z0-9._-]{1,16}")
_SALT = re.compile(r"[0-9a-f]{32}")
_ADDRESS = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_ADDRESS}}}")
_MAX_PROOF_HASHES = 32
_EXACT = Context(prec=120, rounding=ROUND_DOWN)

_PROOF_FIELDS = ("_type", "payment", "index", "hashes", "manifest", "proof")
_MAX_SEQUENCE = 2**53 - 1


def converted(amount: Decimal, rate: Decimal, decimals: int) -> Decimal:
    """Return `amount` of the ledger's money in a currency of which one unit of money buys `rate`, rounded down to `decimals`."""
    return (_EXACT.multiply(amount, rate)).quantize(Decimal(1).scaleb(-decimals), context=_EXACT)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment of a batch, one leaf of its tree. `amount` leaves the ledger, and `sent_amount` is sent in the batch's currency.

    `salt` are 16 random bytes in hex. Raises `FormatError` for values that a payment cannot have.
    """

    batch_id: str
    payout_id: str
    miner_id: str
    adapter: str
    address: str
    currency: str
    amount: Decimal
    sent_amount: Decimal
    salt: str

    def __post_init__(self) -> None:
        text(self.batch_id, "The payment's batch_id", _BATCH_ID)
        text(self.payout_id, "The payment's payout_id", _PAYOUT_ID)
        text(self.miner_id, "The payment's miner_id", MINER_ID)
        # Strict, because adapters pass these to banks and nodes, where a line end may begin another order.
        _destination(self.adapter, self.address, self.currency, "The payment")
        text(self.salt, "The payment's salt", _SALT)
        if self.amount <= 0 or self.sent_amount <= 0:
            raise FormatError("The payment's amount is not positive.")

    def to_json(self) -> dict[str, Any]:
        """Return the payment's fields."""
        return {
            "_type": PAYMENT_TYPE,
            **{name: getattr(self, name) for name in _PAYMENT_FIELDS},
            "amount": money(self.amount),
            "sent_amount": decimal_text(self.sent_amount),
        }

    def to_leaf(self) -> bytes:
        """Return the leaf, in canonical JSON."""
        return canonical_json(self.to_json())


_PAYMENT_FIELDS = tuple(field.name for field in fields(Payment))


def parse_payment(value: object) -> Payment:
    """Parse a payment from its JSON fields. Raises `FormatError`."""
    values = exact(value, ("_type", *_PAYMENT_FIELDS), "The payment")
    if values["_type"] != PAYMENT_TYPE:
        raise FormatError(f"The payment's _type is not {PAYMENT_TYPE}.")
    return Payment(
        **{
            **{name: values[name] for name in _PAYMENT_FIELDS},
            "amount": parse_decimal(values["amount"], "The payment's amount"),
            "sent_amount": parse_decimal(values["sent_amount"], "The payment's sent_amount", MAX_DECIMALS),
        }
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a coordinator signs about a batch. Each `sent_amount` of a payment is its `amount` times `rate`, rounded down.

    `amount` and `sent_amount` are sums over the `count` payments whose tree has the `root` (lower-case hex). `cut_off` is the time
    up to which earnings were counted. Raises `FormatError` for values that a manifest cannot have.
    """

    batch_id: str
    origin: str
    created_at: str
    approved_at: str
    cut_off: str
    adapter: str
    currency: str
    decimals: int
    rate: Decimal
    count: int
    amount: Decimal
    sent_amount: Decimal
    root: str

    def __post_init__(self) -> None:
        text(self.batch_id, "The manifest's batch_id", _BATCH_ID)
        text(self.origin, "The manifest's origin")
        for name in ("created_at", "approved_at", "cut_off"):
            utc_time(getattr(self, name), f"The manifest's {name}")
        text(self.adapter, "The manifest's adapter", _NAME)
        text(self.currency, "The manifest's currency", _CURRENCY)
        text(self.root, "The manifest's root", HEX_SHA256)
        # Not `isinstance`: True would be a number of decimals.
        if type(self.decimals) is not int or not 0 <= self.decimals <= MAX_DECIMALS:
            raise FormatError(f"The manifest's decimals are not a number from 0 to {MAX_DECIMALS}.")
        if type(self.count) is not int or self.count < 1:
            raise FormatError("The manifest's count is not a positive number.")
        if min(self.rate, self.amount, self.sent_amount) <= 0:
            raise FormatError("The manifest's rate or amount is not positive.")

    def to_leaf(self) -> bytes:
        """Return the leaf of the log, in canonical JSON."""
        return canonical_json(
            {
                "_type": MANIFEST_TYPE,
                "rounding": ROUNDING,
                **{name: getattr(self, name) for name in _MANIFEST_FIELDS},
                "rate": decimal_text(self.rate),
                "amount": money(self.amount),
                "sent_amount": decimal_text(self.sent_amount),
            }
        )


_MANIFEST_FIELDS = tuple(field.name for field in fields(Manifest))


def parse_manifest(leaf: bytes) -> Manifest:
    """Parse a manifest's leaf. Raises `FormatError` unless it is byte for byte the output of `Manifest.to_leaf`."""
    values = exact(parse_json(leaf), ("_type", "rounding", *_MANIFEST_FIELDS), "The manifest")
    if values["_type"] != MANIFEST_TYPE or values["rounding"] != ROUNDING:
        raise FormatError("The manifest has another type or rounding than this program knows.")
    manifest = Manifest(
        **{
            **{name: values[name] for name in _MANIFEST_FIELDS},
            # The numbers are text in JSON; all others are taken as they are.
            "amount": parse_decimal(values["amount"], "The manifest's amount"),
            "sent_amount": parse_decimal(values["sent_amount"], "The manifest's sent_amount", MAX_DECIMALS),
            "rate": parse_decimal(values["rate"], "The manifest's rate", MAX_DECIMALS),
        }
    )
    # The log has bytes, so a manifest with the same meaning and other bytes is another leaf.
    if manifest.to_leaf() != leaf:
        raise FormatError("The manifest is not in its canonical form.")
    return manifest


class PaymentTree:
    """The tree of a batch's payments, in the order of their positions (RFC 6962, section 2.1)."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._hashes = [leaf_hash(leaf) for leaf in leaves]

    @property
    def root(self) -> str:
        """The root in lower-case hex."""
        return root_hash(self._node, len(self._hashes)).hex()

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the hashes that lead from payment number `index` to the root."""
        return tuple(inclusion_proof(self._node, index, len(self._hashes)))

    def _node(self, level: int, index: int) -> bytes:
        return fold(self._hashes[index << level : (index + 1) << level])


@dataclass(frozen=True, slots=True)
class PayoutProof:
    """A payment, its number and path in its batch's tree, the manifest as in the log, and the log's `tlog-proof@v1` of it. NOT verified."""

    payment: Payment
    index: int
    hashes: tuple[bytes, ...]
    manifest: bytes
    proof: str

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON, which `parse_payout_proof` reads."""
        return {
            "_type": PROOF_TYPE,
            "payment": self.payment.to_json(),
            "index": self.index,
            "hashes": [b64encode(item) for item in self.hashes],
            "manifest": self.manifest.decode(),
            "proof": self.proof,
        }


def parse_payout_proof(value: object) -> PayoutProof:
    """Parse a proof from its JSON, NOT verified. Raises `FormatError`."""
    values = exact(value, _PROOF_FIELDS, "The proof of a payment")
    if values["_type"] != PROOF_TYPE:
        raise FormatError(f"The _type is not {PROOF_TYPE}.")
    hashes = tuple(
        b64decode(text(item, "A hash of the proof")) for item in items(values["hashes"], "The proof's hashes")
    )
    # A batch of 2^32 payments is more than there will ever be.
    if len(hashes) > _MAX_PROOF_HASHES or any(len(item) != HASH_SIZE for item in hashes):
        raise FormatError("The proof has a hash without 32 bytes, or too many hashes.")
    index = values["index"]
    if type(index) is not int or index < 0:
        raise FormatError("The proof's index is not a number.")
    manifest = text(values["manifest"], "The proof's manifest").encode()
    return PayoutProof(
        parse_payment(values["payment"]), index, hashes, manifest, text(values["proof"], "The log's proof")
    )


@dataclass(frozen=True, slots=True)
class PayoutVerification:
    """The result of `verify_payout`. `payment` and `manifest` are set as far as they could be read; trust them only if `valid`."""

    checks: tuple[Check, ...]
    payment: Payment | None
    manifest: Manifest | None

    @property
    def valid(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each failed check."""
        return tuple(f"{check.name}: {check.message}" for check in self.checks if not check.ok)


def verify_payout(proof: object, trust: str | Policy) -> PayoutVerification:
    """Verify offline that a payment is part of a batch whose manifest is in the log.

    `proof` is the JSON of `GET /v1/payouts/{payout_id}/proof`; `trust` is the log's vkey or a policy with witnesses. The result does
    not say that the money has arrived: that is for the bank, the chain or the node that it was sent through.
    """
    report = VerificationReport()
    parsed = report.attempt("form", lambda: parse_payout_proof(proof))
    if parsed is None:
        return PayoutVerification(tuple(report.checks), None, None)
    report.passed("form", "the proof is complete")
    # The checks go on after a failure, so that the report names all that is wrong and not only the first.
    manifest = report.attempt("manifest", lambda: parse_manifest(parsed.manifest))
    if manifest is not None:
        origin = report.attempt("log", lambda: _logged(parsed, trust))
        if origin is not None:
            report.passed("log", f"the log {origin} includes the manifest")
            report.expect(
                "origin",
                manifest.origin == origin,
                "the manifest names this log",
                f"the manifest is of {manifest.origin}, the log of {origin}",
            )
        _examine(report, parsed, manifest)
    return PayoutVerification(tuple(report.checks), parsed.payment, manifest)


def _logged(payout_proof: PayoutProof, trust: str | Policy) -> str:
    policy = trust if isinstance(trust, Policy) else Policy.of_log(trust)
    parsed = parse_proof(payout_proof.proof)
    checkpoint = policy.open(parsed.note)
    cosigned = policy.cosigned_by(parsed.note)
    # Without witnesses, a log could show this miner a manifest that it shows to nobody else.
    if not policy.is_met_by(cosigned):
        names = ", ".join(sorted(cosigned)) or "none"
        raise VerificationError(
            f"The checkpoint is cosigned by {names}, but the policy asks for {policy.quorum}."
        )
    require_inclusion(payout_proof.manifest, parsed, checkpoint)
    return checkpoint.origin


def _examine(report: VerificationReport, proof: PayoutProof, manifest: Manifest) -> None:
    """Compare the payment with the manifest."""
    payment = proof.payment
    # Under the count of the manifest: a longer tree could hide payments that the sum leaves out.
    included = verify_inclusion(
        leaf_hash(payment.to_leaf()), proof.index, manifest.count, proof.hashes, bytes.fromhex(manifest.root)
    )
    report.expect(
        "payment",
        included,
        f"payment {proof.index + 1} of {manifest.count} of {manifest.batch_id}",
        "its proof does not lead to the manifest's root: it was changed, or is not part of the batch",
    )
    names = ("batch_id", "adapter", "currency")
    differing = [name for name in names if getattr(payment, name) != getattr(manifest, name)]
    report.expect(
        "batch",
        not differing,
        "the payment and the manifest name the same batch",
        f"differ in {', '.join(differing)}",
    )
    # Computed again, since only the amount in money is the miner's claim.
    expected = converted(payment.amount, manifest.rate, manifest.decimals)
    report.expect(
        "rate",
        payment.sent_amount == expected,
        f"{money(payment.amount)} at {decimal_text(manifest.rate)} is {decimal_text(expected)} {manifest.currency}",
        f"{decimal_text(payment.sent_amount)} is sent, but the rate gives {decimal_text(expected)} {manifest.currency}",
    )


@dataclass(frozen=True, slots=True)
class PayoutAddress:
    """A miner's statement of the address that it is paid to.

    `sequence` rises with every statement of a miner (the CLI takes the time in milliseconds), and `origin` is the log's, so that no
    statement can be repeated later or at another coordinator. Raises `FormatError`.
    """

    miner_id: str
    adapter: str
    address: str
    currency: str
    sequence: int
    created_at: str
    origin: str

    def __post_init__(self) -> None:
        text(self.miner_id, "The address's miner_id", MINER_ID)
        _destination(self.adapter, self.address, self.currency, "The address")
        if type(self.sequence) is not int or not 0 < self.sequence <= _MAX_SEQUENCE:
            raise FormatError("The address's sequence is not a positive number.")
        utc_time(self.created_at, "The address's created_at")
        text(self.origin, "The address's origin")

    def sign(self, key: SigningKey) -> dict[str, Any]:
        """Return the DSSE envelope, signed with the miner's identity key."""
        payload = canonical_json({name: getattr(self, name) for name in _ADDRESS_FIELDS})
        return sign_envelope(ADDRESS_TYPE, payload, key)


_ADDRESS_FIELDS = tuple(field.name for field in fields(PayoutAddress))


def open_payout_address(envelope: object, public_key: bytes) -> PayoutAddress:
    """Return the statement in an envelope that `public_key` (32 bytes) signed for its own miner.

    Raises `FormatError` for a wrong shape, and `VerificationError` for a wrong signature or another miner's id.
    """
    statement = _parse_address(open_envelope(envelope, public_key, ADDRESS_TYPE))
    # Every miner can sign, so the key must be that of the miner that is named.
    if statement.miner_id != miner_id(public_key):
        raise VerificationError("The address is another miner's.")
    return statement


def _parse_address(payload: bytes) -> PayoutAddress:
    values = dict(exact(parse_json(payload), _ADDRESS_FIELDS, "The address"))
    statement = PayoutAddress(**values)
    # The statement is stored and compared as bytes.
    if canonical_json(values) != payload:
        raise FormatError("The address is not in its canonical form.")
    return statement


def _destination(adapter: str, address: str, currency: str, subject: str) -> None:
    text(adapter, f"{subject}'s adapter", _NAME)
    text(address, f"{subject}'s address", _ADDRESS)
    text(currency, f"{subject}'s currency", _CURRENCY)
