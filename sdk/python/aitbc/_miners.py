"""The flows of `client.miners`."""

from __future__ import annotations

from urllib.parse import quote

from aitbc._flow import Flow, Request, Session, fetch
from aitbc.models import MinerStats


def stats(session: Session, /, miner_id: str) -> Flow[MinerStats]:
    """What a miner has done, and its reputation from 0 to 5."""
    return (
        yield from fetch(session, Request("GET", f"/v1/miners/{quote(miner_id, safe='')}/stats"), MinerStats)
    )
