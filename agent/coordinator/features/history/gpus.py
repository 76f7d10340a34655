"""The last day of miners' GPUs: a sample in each interval, stored with the first heartbeat in it."""

from __future__ import annotations

import json
from typing import Final

from agent.coordinator.features.history import store
from agent.coordinator.features.history.settings import HistorySettings
from agent.coordinator.hooks import MinerReport
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.core.values.quantities import format_time
from agent.protocol.messages import Heartbeat
from agent.sections import section_of
from aitbc.answers.miners import GpuSample, GpuSamples, MinerGpuHistory

STORED_SECONDS: Final = 86_400


class SampledMiners:
    """The miners of which this process has stored a sample in the present interval: their other heartbeats cost nothing."""

    def __init__(self) -> None:
        self._start = 0
        self._heartbeats: dict[str, int] = {}

    def is_first(self, miner_id: str, heartbeat: Heartbeat, start: int) -> bool:
        """Return whether this is the miner's first heartbeat in the interval that begins at `start`."""
        if start != self._start:
            self._start, self._heartbeats = start, {}
        # A transaction may be undone and run again, so the same heartbeat is the first one again.
        return self._heartbeats.setdefault(miner_id, id(heartbeat)) == id(heartbeat)

    async def close(self) -> None:
        """Do nothing: it holds only values."""


def miner_reported(connection: Connection, context: Context, report: MinerReport) -> None:
    """Store what a heartbeat says about the GPUs, if it is the first in its interval."""
    beat = report.heartbeat
    if beat is None or not beat.gpus:
        return
    interval = _interval(context)
    start = int(context.clock()) // interval * interval
    if context.part(SampledMiners).is_first(report.miner_id, beat, start):
        fields = set(GpuSample.model_fields)
        gpus = json.dumps([gpu.model_dump(include=fields) for gpu in beat.gpus])
        store.add_gpus(connection, report.miner_id, start, gpus)


def of_miner(connection: Connection, context: Context, caller: Caller, miner_id: str) -> MinerGpuHistory:
    """Return the samples of one of the caller's miners, the oldest first. Raises `NotFound`."""
    of_caller(connection, caller, miner_id)
    rows = store.gpus_since(connection, miner_id, context.clock() - STORED_SECONDS)
    samples = [
        GpuSamples(time=format_time(start), gpus=[GpuSample(**gpu) for gpu in json.loads(gpus)])
        for start, gpus in rows
    ]
    return MinerGpuHistory(miner_id=miner_id, interval_seconds=_interval(context), samples=samples)


async def delete_old(context: Context) -> None:
    """Delete samples that are older than a day."""
    oldest = context.clock() - STORED_SECONDS
    while await context.database.write(store.prune_gpus, oldest) == store.PRUNED_AT_ONCE:
        pass


def _interval(context: Context) -> int:
    return section_of(context.settings, HistorySettings).gpu_sample_seconds
