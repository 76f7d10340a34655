"""Verdicts in the log: one leaf for each decided audit of a miner's result, and one for each sanction that follows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from aitbc._shape import HEX_SHA256, JOB_ID, MINER_ID, exact, items, text, utc_time
from aitbc.canonical import canonical_json, parse_json, sha256_hex
from aitbc.errors import FormatError
from aitbc.statement import money, parse_decimal

VERDICT_TYPE: Final = "https://aitbc.bubuit.net/verdict/v1"

VERDICTS: Final = ("pass", "fail", "unproven")
KINDS: Final = ("check", "canary", "third", "second_opinion")
_AUDIT_ID = re.compile(r"audit_[0-9A-Za-z_-]{1,64}")
_RECEIPT_ID = re.compile(r"receipt_[0-9A-Za-z_-]{1,64}")
_PROBABILITY = re.compile(r"[0-9](\.[0-9]+)?e-[0-9]{2,3}")
_MAX_OPINIONS = 8
_FIELDS = (
    *("_type", "audit_id", "parent", "kind", "job_id", "receipt_id", "miner_id", "service", "model"),
    *("verdict", "opinions", "odd_ones", "sanction", "decided_at"),
)
_OPINION = ("audit_id", "kind", "receipt_id", "verdict", "comparison_sha256")
_SANCTION = ("probability", "forfeited")


def comparison_sha256(
    distances: Mapping[str, float], limits: Mapping[str, float], where: str, reason: str, salt: str
) -> str:
    """Return the digest of what an auditor has found, as an opinion in the log has it.

    The log is public and `where` may quote a few words of the job, which nobody can guess from the digest because of the `salt`, 16 random
    bytes in hex. Without one it is not part of the digest.
    """
    comparison = {"distances": dict(distances), "limits": dict(limits), "where": where, "reason": reason}
    # Verdicts from before there was a salt must keep their digest.
    return sha256_hex(canonical_json(comparison | ({"salt": salt} if salt else {})))


@dataclass(frozen=True, slots=True)
class LoggedOpinion:
    """What an auditor said. `receipt_id` is that of the audit job, which names the auditor; None if it gave no answer."""

    audit_id: str
    kind: str
    receipt_id: str | None
    verdict: str
    comparison_sha256: str

    def __post_init__(self) -> None:
        text(self.audit_id, "The opinion's audit_id", _AUDIT_ID)
        text(self.comparison_sha256, "The opinion's comparison_sha256", HEX_SHA256)
        if self.receipt_id is not None:
            text(self.receipt_id, "The opinion's receipt_id", _RECEIPT_ID)
        if self.kind not in KINDS or self.verdict not in VERDICTS:
            raise FormatError("The opinion has an unknown kind or verdict.")


@dataclass(frozen=True, slots=True)
class Sanction:
    """The consequence of a failed audit: `forfeited` is the pay that the miner lost.

    `probability` is at most that of sanctioning an honest miner, in the form `1.2e-09`.
    """

    probability: str
    forfeited: Decimal

    def __post_init__(self) -> None:
        text(self.probability, "The sanction's probability", _PROBABILITY)
        if self.forfeited < 0:
            raise FormatError("The sanction's forfeited is negative.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision of an audit about the result of `job_id` by `miner_id`.

    `odd_ones` are auditors whose opinion two others have refuted. `parent` is the audit to which a second opinion belongs, otherwise
    None. `model` is None for services without models. A verdict with a `sanction` repeats one without.
    Raises `FormatError` if the values are inconsistent.
    """

    audit_id: str
    parent: str | None
    kind: str
    job_id: str
    miner_id: str
    service: str
    model: str | None
    verdict: str
    opinions: tuple[LoggedOpinion, ...]
    odd_ones: tuple[str, ...]
    sanction: Sanction | None
    decided_at: str

    def __post_init__(self) -> None:
        text(self.audit_id, "The verdict's audit_id", _AUDIT_ID)
        text(self.job_id, "The verdict's job_id", JOB_ID)
        text(self.miner_id, "The verdict's miner_id", MINER_ID)
        text(self.service, "The verdict's service")
        utc_time(self.decided_at, "The verdict's decided_at")
        if self.parent is not None:
            text(self.parent, "The verdict's parent", _AUDIT_ID)
        if self.model is not None:
            text(self.model, "The verdict's model")
        for auditor in self.odd_ones:
            text(auditor, "The verdict's odd_ones", MINER_ID)
        if self.kind not in KINDS or self.verdict not in VERDICTS:
            raise FormatError("The verdict has an unknown kind or verdict.")
        # Only a second opinion is about another audit; without its parent, it would decide about nothing.
        if (self.kind == "second_opinion") != (self.parent is not None):
            raise FormatError("The verdict must name a parent if it is a second opinion, and otherwise none.")
        # An entry of the log has a maximum size.
        if len(self.opinions) > _MAX_OPINIONS:
            raise FormatError("The verdict has too many opinions.")

    @property
    def receipt_id(self) -> str:
        """The id of the receipt that the audit is about."""
        return "receipt_" + self.job_id.removeprefix("job_")

    def to_leaf(self) -> bytes:
        """Return the leaf, in canonical JSON."""
        sanction = self.sanction
        return canonical_json(
            {
                **{name: getattr(self, name) for name in _FIELDS[1:]},
                "_type": VERDICT_TYPE,
                "opinions": [
                    {name: getattr(opinion, name) for name in _OPINION} for opinion in self.opinions
                ],
                "odd_ones": list(self.odd_ones),
                "sanction": None
                if sanction is None
                else {"probability": sanction.probability, "forfeited": money(sanction.forfeited)},
            }
        )


def parse_verdict(leaf: bytes) -> Verdict:
    """Parse a verdict's leaf. Raises `FormatError` unless it is byte for byte the output of `Verdict.to_leaf`."""
    fields: Mapping[str, Any] = exact(parse_json(leaf), _FIELDS, "The verdict")
    verdict = Verdict(
        audit_id=fields["audit_id"],
        parent=fields["parent"],
        kind=text(fields["kind"], "The verdict's kind"),
        job_id=fields["job_id"],
        miner_id=fields["miner_id"],
        service=fields["service"],
        model=fields["model"],
        verdict=text(fields["verdict"], "The verdict's verdict"),
        opinions=tuple(
            LoggedOpinion(**exact(opinion, _OPINION, "The opinion"))
            for opinion in items(fields["opinions"], "The verdict's opinions")
        ),
        odd_ones=tuple(items(fields["odd_ones"], "The verdict's odd_ones")),
        sanction=_sanction(fields["sanction"]),
        decided_at=fields["decided_at"],
    )
    # As for all leaves: one meaning, one sequence of bytes.
    if verdict.to_leaf() != leaf:
        raise FormatError("The verdict is not in its canonical form.")
    return verdict


def _sanction(value: object) -> Sanction | None:
    if value is None:
        return None
    fields = exact(value, _SANCTION, "The sanction")
    return Sanction(
        probability=fields["probability"],
        forfeited=parse_decimal(fields["forfeited"], "The sanction's forfeited"),
    )
