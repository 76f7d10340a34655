"""The flows of `client.log`: the coordinator's append-only log. They need no key. `aitbc.monitor` verifies the log."""

from __future__ import annotations

from aitbc._http.flow import Flow, Request, Session, call, not_a_coordinators, segment

PROOF_WAIT = 10.0
"""Seconds that the coordinator may delay a proof until the next checkpoint."""


def checkpoint(session: Session, /, *, cosigned: int = 0) -> Flow[str]:
    """Return the newest signed checkpoint, or with `cosigned` the newest that this many witnesses have cosigned."""
    params = {"cosigned": str(cosigned)} if cosigned else {}
    return _text(session, Request("GET", "/v1/log/checkpoint", params=params))


def proof(session: Session, /, reference: str) -> Flow[str]:
    """Return the `tlog-proof@v1` of a receipt (by its id) or a settlement (by its transaction's id)."""
    path = f"/v1/log/proof/{segment(reference)}"
    # A new leaf has no proof until the next checkpoint, for which the coordinator lets the client wait.
    return _text(session, Request("GET", path, extra_timeout=PROOF_WAIT))


def tile(session: Session, /, path: str) -> Flow[bytes]:
    """Return a tile of hashes or a bundle of entries, by its path (`tile/0/x001/234.p/5`)."""
    return (yield from call(session, Request("GET", f"/v1/log/{path}"))).content


def _text(session: Session, request: Request) -> Flow[str]:
    response = yield from call(session, request)
    try:
        return response.content.decode()
    except UnicodeDecodeError as error:
        raise not_a_coordinators(request, error) from error
