"""How a miner joins: it proves its key over a nonce and hears its session's token and rhythm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.miner.identity import Identity
from agent.miner.link.errors import Excluded, RegistrationRefused, Unreachable
from agent.miner.link.http import HttpLink
from aitbc.canonical import b64encode
from aitbc.dsse import sign_detached
from aitbc.errors import FormatError
from aitbc.keys import parse_vkey, registration_payload
from aitbc.statement import REGISTRATION_TYPE

_LIMIT_SECONDS: Final = 30.0
_TRANSIENT: Final = frozenset({408, 425, 429})
EXCLUDED_CODE: Final = "MINER_EXCLUDED"
_ERROR: Final = 400
_SERVER_ERROR: Final = 500


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


_AnswerT = TypeVar("_AnswerT", bound=_Answer)


class SessionSettings(_Answer):
    """The coordinator's rhythm, all in seconds."""

    lease_seconds: float = Field(gt=0)
    heartbeat_seconds: float = Field(gt=0)
    poll_seconds: float = Field(gt=0)


class LeaseKey(_Answer):
    """Which lease: a job and its fence."""

    job_id: str
    fence: int


class Registration(_Answer):
    """What the coordinator answers to a registration. `keep` are the leases of `holding` that are still ours."""

    miner_id: str
    session: int
    session_token: str = Field(min_length=1, repr=False)
    log_key: str
    origin: str
    api_key: str | None = Field(default=None, repr=False)
    settings: SessionSettings
    keep: tuple[LeaseKey, ...] = ()


class _Challenge(_Answer):
    nonce: str
    origin: str


async def register(http: HttpLink, identity: Identity, joining: Mapping[str, Any]) -> Registration:
    """Open a new session. `joining` is the registration's body without nonce, key and signature.

    Raises `Unreachable` (try again), `Excluded` (try again rarely) or `RegistrationRefused` (the owner must act).
    """
    try:
        return await _register_once(http, identity, joining)
    except RegistrationRefused:
        # A restart of the coordinator between the two calls loses the nonce; a second refusal is meant.
        return await _register_once(http, identity, joining)


def prove(identity: Identity, nonce: str, origin: str) -> dict[str, str]:
    """The part of a message that proves that its sender has the miner's key, over a nonce of the log `origin`."""
    payload = registration_payload(nonce, origin, identity.public_key)
    return {
        "nonce": nonce,
        "public_key": b64encode(identity.public_key),
        "signature": sign_detached(REGISTRATION_TYPE, payload, identity.signing_key),
    }


async def _register_once(http: HttpLink, identity: Identity, joining: Mapping[str, Any]) -> Registration:
    challenge = await _ask(http, "/v1/miners/challenge", {}, _Challenge)
    body = {**joining, **prove(identity, challenge.nonce, challenge.origin)}
    registration = await _ask(http, "/v1/miners/register", body, Registration)
    if registration.miner_id != identity.miner_id or _log_origin(registration) != challenge.origin:
        raise RegistrationRefused(
            f"What answers at {http.url} contradicts itself about this miner or its log; check the address."
        )
    return registration


def _log_origin(registration: Registration) -> str | None:
    try:
        origin, _ = parse_vkey(registration.log_key)
    except FormatError:
        return None
    return origin if origin == registration.origin else None


async def _ask(http: HttpLink, path: str, body: Mapping[str, Any], model: type[_AnswerT]) -> _AnswerT:
    status, answer = await http.post(path, body, limit=_LIMIT_SECONDS)
    if status >= _SERVER_ERROR or status in _TRANSIENT:
        raise Unreachable(f"The coordinator at {http.url} answers {status}.")
    if error_code(answer) == EXCLUDED_CODE:
        raise Excluded(_message(answer))
    if status >= _ERROR:
        raise RegistrationRefused(
            f"The coordinator at {http.url} does not take this miner ({status}): {_message(answer)}"
        )
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        raise RegistrationRefused(
            f"What answers at {http.url} does not speak this agent's protocol ({error.error_count()} faults); "
            "check the address, and update the agent."
        ) from None


def _message(answer: Any) -> str:
    try:
        return str(answer["error"]["message"])
    except (TypeError, KeyError):
        return "it gives no reason."


def error_code(body: Any) -> str | None:
    """The `code` of an error answer, None for anything else."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None
