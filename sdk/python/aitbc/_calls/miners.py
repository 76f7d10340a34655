"""The flows of `client.miners`. All except `stats` are for the miners' owners and administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aitbc._http.flow import Flow, Request, Session, fetch, json_body, post_json, present, query, segment
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
    return query(session, f"{_path(miner_id)}/stats", MinerStats)


def list_miners(session: Session, /, *, limit: int = 50, offset: int = 0) -> Flow[MinerList]:
    """Return the miners of the caller's fleet, or for an administrator one page of all miners, newest first."""
    return query(session, "/v1/miners", MinerList, limit=limit, offset=offset)


def fleet(session: Session, /, *, days: int = 30) -> Flow[MinerFleet]:
    """Return all machines of the caller's owner, with their sums and their earnings together on each of the last days."""
    return query(session, "/v1/miners/fleet", MinerFleet, days=days)


def get(session: Session, /, miner_id: str) -> Flow[MinerDetails]:
    """Return a miner with its GPUs, services, jobs and commands."""
    return query(session, _path(miner_id), MinerDetails)


def earnings(session: Session, /, miner_id: str, *, days: int = 30) -> Flow[MinerEarnings]:
    """Return a miner's earnings on each of the last days."""
    return query(session, f"{_path(miner_id)}/earnings", MinerEarnings, days=days)


def outlook(session: Session, /, miner_id: str) -> Flow[MinerOutlook]:
    """Return what machines with the same cards earn for each hour online, before electricity."""
    return query(session, f"{_path(miner_id)}/outlook", MinerOutlook)


def gpu_history(session: Session, /, miner_id: str) -> Flow[MinerGpuHistory]:
    """Return a miner's GPUs in the last 24 hours: utilization, memory, temperature and power."""
    return query(session, f"{_path(miner_id)}/gpu-history", MinerGpuHistory)


def explain(session: Session, /, miner_id: str) -> Flow[MinerExplanation]:
    """Return why a miner does not get the jobs that wait, and what would change that."""
    return query(session, f"{_path(miner_id)}/explain", MinerExplanation)


def settings(session: Session, /, miner_id: str) -> Flow[MinerSettings]:
    """Return a miner's prices, schedule and engines, and its newest commands: who gave them, and what they changed."""
    return query(session, f"{_path(miner_id)}/settings", MinerSettings)


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
    body = present({"prices": prices, "schedule": schedule, "engines": engines})
    headers = {"Content-Type": "application/json"}
    request = Request("PATCH", f"{_path(miner_id)}/settings", headers=headers, content=json_body(body))
    return fetch(session, request, MinerCommand)


def pause(
    session: Session, /, miner_id: str, *, gpu: str | None = None, seconds: float | None = None
) -> Flow[MinerCommand]:
    """Pause a miner, or one of its GPUs (by uuid), until it is resumed or for some seconds. It then accepts no jobs."""
    return _command(session, f"{_path(miner_id)}/pause", gpu=gpu, seconds=seconds)


def resume(session: Session, /, miner_id: str, *, gpu: str | None = None) -> Flow[MinerCommand]:
    """Resume a miner, or one of its GPUs."""
    return _command(session, f"{_path(miner_id)}/resume", gpu=gpu)


def fetch_model(session: Session, /, miner_id: str, model: str) -> Flow[MinerCommand]:
    """Make a miner download a model."""
    return _command(session, f"{_path(miner_id)}/models", model=model)


def remove_model(session: Session, /, miner_id: str, model: str) -> Flow[MinerCommand]:
    """Make a miner delete a model from its disk as soon as no job uses it."""
    request = Request("DELETE", f"{_path(miner_id)}/models/{segment(model)}")
    return fetch(session, request, MinerCommand)


def _command(session: Session, path: str, **fields: Any) -> Flow[MinerCommand]:
    # A repeated command replaces the earlier one.
    return fetch(session, post_json(path, present(fields), repeatable=True), MinerCommand)


def _path(miner_id: str) -> str:
    return f"/v1/miners/{segment(miner_id)}"
