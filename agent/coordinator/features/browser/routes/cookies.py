"""The cookie of a browser's session, and the checks that prevent other sites from using it.

A request uses the cookie only if it names a role (`X-Session-Role`, or `role` in a WebSocket's address), which no link, form or
image of another site can do. It must come from a page of this origin, and if it changes something, it must carry the session's
token (`X-CSRF-Token`), which only that page can read. Requests with an API key need none of this.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

from agent.coordinator.features.browser import store
from agent.coordinator.http.credentials import query_field
from agent.coordinator.operations.accounts.access import digest
from agent.coordinator.store.access import KeyRecord
from agent.coordinator.store.database import Connection
from agent.core.errors import Forbidden
from aitbc.answers.accounts import Role

ROLE_HEADER: Final = "X-Session-Role"
TOKEN_HEADER: Final = "X-CSRF-Token"  # noqa: S105 - the name of a header
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SECURE: Final = frozenset({"https", "wss"})
_ROLES: Final[Mapping[str, Role]] = {role.value: role for role in Role}


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """The secret of a browser's cookie, and the role in which the request acts."""

    secret: str
    role: Role
    refusal: ClassVar[str] = "This session has ended or does not have this role. Sign in again."

    @property
    def fingerprint(self) -> str:
        """A name from which the secret cannot be derived. The roles of one session are callers of their own."""
        return f"{digest(self.secret)}/{self.role}"

    def check(self, scope: Scope) -> None:
        """Raise `Forbidden` for a request from another site."""
        check_origin(scope)
        check_token(scope, self.secret)

    def key(self, connection: Connection, now: float) -> KeyRecord | None:
        """Return the session's key for the role."""
        return store.key_of(connection, digest(self.secret), self.role.value, now)


def credential_of(scope: Scope) -> SessionCredential | None:
    """Return the session's secret and the request's role; None without both."""
    secret = secret_of(scope)
    role = _ROLES.get(_role(scope))
    return SessionCredential(secret, role) if secret and role else None


def secret_of(scope: Scope) -> str | None:
    """Return the content of the cookie; None without one."""
    headers = Headers(scope=scope)
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(_name(scope)) or None


def csrf_token(secret: str) -> str:
    """Return the token of a session. It is derived from the cookie's secret, and does not reveal it."""
    return hashlib.blake2b(secret.encode(), person=b"csrf-token", digest_size=32).hexdigest()


def check_origin(scope: Scope) -> None:
    """Raise `Forbidden` for a request from a page of another origin. A WebSocket's handshake must name its origin."""
    headers = Headers(scope=scope)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # The browser's own statement is correct even if a proxy rewrote Host.
    if site == "same-origin":
        return
    if origin is None:
        # Browsers may omit it from plain requests of the same origin, but never from a WebSocket's handshake.
        from_elsewhere = scope["type"] == "websocket"
    else:
        from_elsewhere = urlsplit(origin).netloc != headers.get("host")
    if from_elsewhere or site not in (None, "none"):
        raise Forbidden(
            "This request comes from a page of another site, which may not use the dashboard's session. "
            "Programs must send an API key instead."
        )


def check_token(scope: Scope, secret: str) -> None:
    """Raise `Forbidden` for a request that changes something without the session's token."""
    if scope["type"] == "websocket" or scope["method"] in _SAFE:
        return
    if not has_token(scope, secret):
        raise Forbidden(
            f"A request with a session that changes something needs the session's token in the header {TOKEN_HEADER}. "
            "`GET /v1/session` returns it."
        )


def has_token(scope: Scope, secret: str) -> bool:
    """Return whether the request carries the session's token."""
    token = Headers(scope=scope).get(TOKEN_HEADER, "")
    # In constant time: an answer that is faster for a wrong first character would reveal the token character by character.
    return hmac.compare_digest(token.encode(), csrf_token(secret).encode())


def set_cookie(response: Response, scope: Scope, secret: str, max_age: int) -> None:
    """Set the cookie with the session's secret, inaccessible to scripts and other sites."""
    response.set_cookie(_name(scope), secret, max_age=max_age, **_attributes(scope))


def clear_cookie(response: Response, scope: Scope) -> None:
    """Delete the cookie."""
    response.delete_cookie(_name(scope), **_attributes(scope))


def _attributes(scope: Scope) -> dict[str, Any]:
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": scope["scheme"] in _SECURE}


def _name(scope: Scope) -> str:
    """Return the cookie's name, which contains the port: cookies ignore ports, and one machine may serve several dashboards."""
    try:
        port = urlsplit(f"//{Headers(scope=scope).get('host', '')}").port
    except ValueError:
        port = None
    name = "aitbc_session" if port is None else f"aitbc_session_{port}"
    # With this prefix a browser accepts the cookie from this host only, over TLS; without TLS it would refuse it.
    return f"__Host-{name}" if scope["scheme"] in _SECURE else name


def _role(scope: Scope) -> str:
    if scope["type"] == "websocket":
        return query_field(scope, "role")
    role: str = Headers(scope=scope).get(ROLE_HEADER, "")
    return role
