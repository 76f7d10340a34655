"""The flows of `client.miners`. All except `stats` are for the miners' owners and administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from aitbc._http.flow import Flow, Request, Session, fetch, json_body, post_json
from aitbc.answers.miners import (
    MinerCommand,
    MinerDetails,
    MinerEarnings,
    MinerExplanation,
    MinerFleet,
    MinerGpuHistory,
    MinerList,
    MinerOutlook,
    MinerSettings,
    MinerStats,
)


def stats(session: Session, /, miner_id: str) -> Flow[MinerStats]:
    """Return a miner's statistics, and its reputation from 0 to 5."""
    return (yield from fetch(session, Request("GET", f"{_path(miner_id)}/stats"), MinerStats))


def list_miners(session: Session, /, *, limit: int = 50, offset: int = 0) -> Flow[MinerList]:
    """Return the miners of the caller's fleet, or for an administrator one page of all miners, newest first."""
    params = {"limit": str(limit), "offset": str(offset)}
    return (yield from fetch(session, Request("GET", "/v1/miners", params=params), MinerList))


def fleet(session: Session, /, *, days: int = 30) -> Flow[MinerFleet]:
    """Return all machines of the caller's owner, with their sums and their earnings together on each of the last days."""
    request = Request("GET", "/v1/miners/fleet", params={"days": str(days)})
    return (yield from fetch(session, request, MinerFleet))


def get(session: Session, /, miner_id: str) -> Flow[MinerDetails]:
    """Return a miner with its GPUs, services, jobs and commands."""
    return (yield from fetch(session, Request("GET", _path(miner_id)), MinerDetails))


def earnings(session: Session, /, miner_id: str, *, days: int = 30) -> Flow[MinerEarnings]:
    """Return a miner's earnings on each of the last days."""
    request = Request("GET", f"{_path(miner_id)}/earnings", params={"days": str(days)})
    return (yield from fetch(session, request, MinerEarnings))


def outlook(session: Session, /, miner_id: str) -> Flow[MinerOutlook]:
    """Return what machines with the same cards earn for each hour online, before electricity."""
    return (yield from fetch(session, Request("GET", f"{_path(miner_id)}/outlook"), MinerOutlook))


def gpu_history(session: Session, /, miner_id: str) -> Flow[MinerGpuHistory]:
    """Return a miner's GPUs in the last 24 hours: utilization, memory, temperature and power."""
    return (yield from fetch(session, Request("GET", f"{_path(miner_id)}/gpu-history"), MinerGpuHistory))


def explain(session: Session, /, miner_id: str) -> Flow[MinerExplanation]:
    """Return why a miner does not get the jobs that wait, and what would change that."""
    return (yield from fetch(session, Request("GET", f"{_path(miner_id)}/explain"), MinerExplanation))


def settings(session: Session, /, miner_id: str) -> Flow[MinerSettings]:
    """Return a miner's prices, schedule and engines, and its newest commands: who gave them, and what they changed."""
    return (yield from fetch(session, Request("GET", f"{_path(miner_id)}/settings"), MinerSettings))


def change_settings(
    session: Session,
    /,
    miner_id: str,
    *,
    prices: Mapping[str, str | None] | None = None,
    schedule: Sequence[str] | None = None,
    engines: Sequence[str] | None = None,
) -> Flow[MinerCommand]:
    """Change a miner's prices by service (None: the default), its schedule or its preferred engines. Others stay as they are."""
    # An empty list is a value (no schedule), so only None means that a setting stays.
    values = {"prices": prices, "schedule": schedule, "engines": engines}
    body = {name: value for name, value in values.items() if value is not None}
    headers = {"Content-Type": "application/json"}
    request = Request("PATCH", f"{_path(miner_id)}/settings", headers=headers, content=json_body(body))
    return (yield from fetch(session, request, MinerCommand))


def pause(
    session: Session, /, miner_id: str, *, gpu: str | None = None, seconds: float | None = None
) -> Flow[MinerCommand]:
    """Pause a miner, or one of its GPUs (by uuid), until it is resumed or for some seconds. It then accepts no jobs."""
    return (yield from _command(session, f"{_path(miner_id)}/pause", gpu=gpu, seconds=seconds))


def resume(session: Session, /, miner_id: str, *, gpu: str | None = None) -> Flow[MinerCommand]:
    """Resume a miner, or one of its GPUs."""
    return (yield from _command(session, f"{_path(miner_id)}/resume", gpu=gpu))


def fetch_model(session: Session, /, miner_id: str, model: str) -> Flow[MinerCommand]:
    """Make a miner download a model."""
    return (yield from _command(session, f"{_path(miner_id)}/models", model=model))


def remove_model(session: Session, /, miner_id: str, model: str) -> Flow[MinerCommand]:
    """Make a miner delete a model from its disk as soon as no job uses it."""
    request = Request("DELETE", f"{_path(miner_id)}/models/{quote(model, safe='')}")
    return (yield from fetch(session, request, MinerCommand))


def _command(session: Session, path: str, **fields: Any) -> Flow[MinerCommand]:
    body = {name: value for name, value in fields.items() if value is not None}
    # A repeated command replaces the earlier one.
    return (yield from fetch(session, post_json(path, body, repeatable=True), MinerCommand))


def _path(miner_id: str) -> str:
    return f"/v1/miners/{quote(miner_id, safe='')}"
