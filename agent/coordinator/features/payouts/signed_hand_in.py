"""What a miner hands in for a payment, such as the invoice that a Lightning node will pay, signed by the miner's identity key.

An API key alone must not decide where money goes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from nacl.signing import SigningKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aitbc.canonical import canonical_json, parse_json
from aitbc.dsse import open_envelope, sign_envelope
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import miner_id

HAND_IN_TYPE: Final = "application/vnd.aitbc.payout-hand-in+json"


class PayoutHandIn(BaseModel, defer_build=True):
    """A miner's statement that a payment is to be made with this `text`. `origin` is the log's, `created_at` is RFC 3339."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    payout_id: Annotated[str, Field(pattern=r"^payout_[0-9A-Za-z_-]{1,64}$")]
    miner_id: Annotated[str, Field(pattern=r"^miner_[a-z2-7]{26}$")]
    text: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,4096}$")]
    created_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")]
    origin: Annotated[str, Field(min_length=1, max_length=500)]

    def sign(self, key: SigningKey) -> dict[str, Any]:
        """Return the DSSE envelope, signed with the miner's identity key."""
        return sign_envelope(HAND_IN_TYPE, canonical_json(self.model_dump()), key)


def open_hand_in(envelope: object, public_key: bytes) -> PayoutHandIn:
    """Return the statement in an envelope that `public_key` (32 bytes) signed for its own miner.

    Raises `FormatError` for a wrong shape, and `VerificationError` for a wrong signature or another miner's id.
    """
    payload = open_envelope(envelope, public_key, HAND_IN_TYPE)
    try:
        statement = PayoutHandIn.model_validate(parse_json(payload))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise FormatError(f"The statement's {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if canonical_json(statement.model_dump()) != payload:
        raise FormatError("The statement is not in its canonical form.")
    if statement.miner_id != miner_id(public_key):
        raise VerificationError("The statement is another miner's.")
    return statement
