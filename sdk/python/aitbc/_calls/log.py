"""The flows of `client.log`: the coordinator's append-only log. No key is needed. What verifies it is in `aitbc.monitor`."""

from __future__ import annotations

from urllib.parse import quote

from aitbc._http.flow import Flow, Request, Session, call
from aitbc.errors import TransportError

PROOF_PATIENCE = 10.0
"""Seconds that the coordinator may hold a proof until the next checkpoint."""


def checkpoint(session: Session, /, *, cosigned: int = 0) -> Flow[str]:
    """The newest signed checkpoint; with `cosigned`, the newest that so many witnesses have cosigned."""
    params = {"cosigned": str(cosigned)} if cosigned else {}
    return (yield from _text(session, Request("GET", "/v1/log/checkpoint", params=params)))


def proof(session: Session, /, reference: str) -> Flow[str]:
    """The `tlog-proof@v1` of a receipt (by its id) or a settlement (by its transaction's id)."""
    path = f"/v1/log/proof/{quote(reference, safe='')}"
    return (yield from _text(session, Request("GET", path, patience=PROOF_PATIENCE)))


def tile(session: Session, /, path: str) -> Flow[bytes]:
    """The bytes of a tile of hashes or a bundle of entries, by its path (`tile/0/x001/234.p/5`)."""
    return (yield from call(session, Request("GET", f"/v1/log/{path}"))).content


def _text(session: Session, request: Request) -> Flow[str]:
    response = yield from call(session, request)
    try:
        return response.content.decode()
    except UnicodeDecodeError as error:
        raise TransportError(f"The answer to GET {request.path} is not a coordinator's: {error}") from error
