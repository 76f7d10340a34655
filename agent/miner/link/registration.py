"""Registration: the miner signs a nonce with its key and receives its session's token and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from agent.core.versions import version_problem
from agent.miner.identity import Identity
from agent.miner.link.http import HttpLink
from agent.miner.link.refusals import Excluded, Incompatible, RegistrationRefused, Unreachable
from agent.protocol.answers import Challenge, Registered
from agent.protocol.reading import MalformedMessage, read
from aitbc.answers.fields import Answer
from aitbc.canonical import b64encode
from aitbc.dsse import sign_detached
from aitbc.errors import FormatError
from aitbc.keys import parse_vkey, registration_payload
from aitbc.statement import REGISTRATION_TYPE

_LIMIT_SECONDS: Final = 30.0
_TRANSIENT: Final = frozenset({408, 425, 429})
EXCLUDED_CODE: Final = "MINER_EXCLUDED"
_VERSION_CODE: Final = "VERSION_MISMATCH"
_ERROR: Final = 400
_SERVER_ERROR: Final = 500


_AnswerT = TypeVar("_AnswerT", bound=Answer)


async def register(
    http: HttpLink, identity: Identity, joining: Mapping[str, Any], log_key: str | None = None
) -> Registered:
    """Open a new session. `joining` is the registration's body without nonce, key and signature; `log_key` the only one that is accepted.

    Raises `Unreachable` (try again), `Excluded` or `Incompatible` (try again rarely), or `RegistrationRefused` (the owner must act).
    """
    try:
        return await _register_once(http, identity, joining, log_key)
    except RegistrationRefused:
        # A restart of the coordinator between the two calls loses the nonce; a second refusal is final.
        return await _register_once(http, identity, joining, log_key)


def prove(identity: Identity, nonce: str, origin: str) -> dict[str, str]:
    """Return the part of a message that proves possession of the miner's key, over a nonce of the log `origin`."""
    payload = registration_payload(nonce, origin, identity.public_key)
    return {
        "nonce": nonce,
        "public_key": b64encode(identity.public_key),
        "signature": sign_detached(REGISTRATION_TYPE, payload, identity.signing_key),
    }


async def _register_once(
    http: HttpLink, identity: Identity, joining: Mapping[str, Any], log_key: str | None
) -> Registered:
    if log_key is not None:
        # Before the token is sent, which another coordinator could use.
        _require_key(http, await _health(http), log_key)
    challenge = await _ask(http, "/v1/miners/challenge", {}, Challenge)
    # A coordinator that would accept every version.
    if challenge.version is None:
        await _require_same_version(http, joining["agent_version"])
    body = {**joining, **prove(identity, challenge.nonce, challenge.origin)}
    registration = await _ask(http, "/v1/miners/register", body, Registered)
    if registration.miner_id != identity.miner_id or _log_origin(registration) != challenge.origin:
        raise RegistrationRefused(
            f"The server at {http.url} gave two different answers about this miner or its log. Check the address."
        )
    if log_key is not None:
        _require_key(http, {"log_key": registration.log_key}, log_key)
    return registration


async def _health(http: HttpLink) -> Mapping[str, Any]:
    status, health = await http.get("/v1/health", None, limit=_LIMIT_SECONDS)
    if status >= _SERVER_ERROR or status in _TRANSIENT:
        raise Unreachable(f"The coordinator at {http.url} answers {status}.")
    return health if isinstance(health, dict) else {}


def _require_key(http: HttpLink, answer: Mapping[str, Any], log_key: str) -> None:
    if answer.get("log_key") != log_key:
        raise RegistrationRefused(
            f"Another coordinator than the one that this machine has joined answers at {http.url}: its log key is {answer.get('log_key')}, "
            f"and miner.log_key is {log_key}. Ask its operator. If the key was replaced on purpose, join again with a new code (aitbc-agent join)."
        )


async def _require_same_version(http: HttpLink, own_version: str) -> None:
    """Raise `Incompatible` unless the version of the coordinator's health, which every version states, fits."""
    version = (await _health(http)).get("version")
    problem = version_problem(own_version, version if isinstance(version, str) else None)
    if problem is not None:
        raise Incompatible(problem)


def _log_origin(registration: Registered) -> str | None:
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
    if error_code(answer) == _VERSION_CODE:
        raise Incompatible(_message(answer))
    if status >= _ERROR:
        raise RegistrationRefused(
            f"The coordinator at {http.url} refuses this miner ({status}): {_message(answer)}"
        )
    try:
        return read(model, answer)
    except MalformedMessage as error:
        raise RegistrationRefused(
            f"The server at {http.url} does not speak this agent's protocol ({error}). "
            "Check the address, and update the agent."
        ) from None


def _message(answer: Any) -> str:
    try:
        return str(answer["error"]["message"])
    except (TypeError, KeyError):
        return "no reason given."


def error_code(body: Any) -> str | None:
    """Return the `code` of an error answer, None for anything else."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None
