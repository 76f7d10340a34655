"""Sets the owner's power limits of cards, by the time of the week, through the helper that may (`agent/power_helper`).

The helper restores the former limits as soon as this connection ends, in whichever way the agent ends.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog

from agent.miner.machine.gpus import Gpu, GpuReadings
from agent.miner.schedules import parse_window
from agent.miner.settings import EnergySettings, GpuSettings, MinerSettings

POLL_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 15.0
NO_HELPER: Final = (
    "Power limits need the helper that runs as root. Install it with `sudo aitbc-agent service install --power-limits`, "
    "or set them yourself (as root: nvidia-smi -pl WATTS)."
)

_log = structlog.get_logger(__name__)


class LimitRefused(Exception):
    """The helper refused a request or does not answer, for the reason in the message."""


class PowerHelper:
    """A connection to the helper, opened by the first request. `close` ends it, and the helper restores all limits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._streams is not None

    async def limit(self, uuid: str, watts: float) -> float:
        """Set the limit of a card and return the one that it has now. Raises `LimitRefused`."""
        return (await self._ask(f"limit {uuid} {watts:.3f}"))[0]

    async def restore(self, uuid: str) -> float:
        """Restore the limit that a card had before, and return it. Raises `LimitRefused`."""
        return (await self._ask(f"restore {uuid}"))[0]

    async def range(self, uuid: str) -> tuple[float, float, float]:
        """Return the least and the largest limit that a card accepts, and its current one. Raises `LimitRefused`."""
        least, most, now = await self._ask(f"range {uuid}")
        return least, most, now

    async def _ask(self, request: str) -> list[float]:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                if self._streams is None:
                    self._streams = await asyncio.open_unix_connection(self._path)
                reader, writer = self._streams
                writer.write(f"{request}\n".encode())
                line = (await reader.readline()).decode(errors="replace").strip()
        except (FileNotFoundError, ConnectionRefusedError):
            raise LimitRefused(NO_HELPER) from None
        except TimeoutError:
            await self.close()
            raise LimitRefused(
                "The helper that sets power limits does not answer; see `journalctl -u aitbc-power`."
            ) from None
        except (OSError, ValueError) as error:
            await self.close()
            raise LimitRefused(f"The helper that sets power limits failed ({error}).") from None
        word, _, answer = line.partition(" ")
        if word == "error":
            raise LimitRefused(f"{answer[:1].upper()}{answer[1:]}.")
        try:
            return [float(number) for number in answer.split()]
        except ValueError:
            line = "an unknown answer"
        finally:
            # An end of the connection is an empty line.
            if word != "ok":
                await self.close()
        raise LimitRefused(f"The helper that sets power limits ended the connection ({line or 'no answer'}).")

    async def close(self) -> None:
        """End the connection, so that the former limits are restored."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with suppress(OSError):
                await streams[1].wait_closed()


class PowerLimits:
    """The daemon runs `run`. `problems` are the reasons for which cards do not have their limits, by UUID."""

    def __init__(self, settings: MinerSettings, gpus: GpuReadings) -> None:
        self._settings = settings
        self._gpus = gpus
        self._helper = PowerHelper(settings.energy.power_helper)
        self._set: dict[str, float] = {}
        self._again_at = 0.0
        self.problems: dict[str, str] = {}

    async def run(self) -> None:
        """Set limits when they change, until cancelled."""
        try:
            while True:
                delay = POLL_SECONDS
                if await self._apply():
                    # A card that refuses its limit does so the next time too.
                    delay = RETRY_SECONDS
                await asyncio.sleep(delay)
        finally:
            await self._helper.close()

    async def _apply(self) -> bool:
        """Set what differs. Return whether something could not be set."""
        now = datetime.now()  # noqa: DTZ005 - schedules are in local time
        problems: dict[str, str] = {}
        if not self._helper.connected:
            # The helper has restored all limits when the connection ended.
            self._set.clear()
        for gpu in self._gpus.last:
            wanted = wanted_limit(self._settings, gpu, now)
            try:
                await self._adjust(gpu, wanted)
            except LimitRefused as error:
                problems[gpu.uuid] = f"GPU {gpu.number}: {error}"
        if time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + AGAIN_SECONDS
        if problems != self.problems:
            _log.info("power_limits_changed", problems=list(problems.values()))
        self.problems = problems
        return bool(problems)

    async def _adjust(self, gpu: Gpu, wanted: float | None) -> None:
        """Set or restore the limit of a card. Raises `LimitRefused`."""
        former = self._set.get(gpu.uuid)
        if wanted is None:
            if former is not None:
                limit = await self._helper.restore(gpu.uuid)
                del self._set[gpu.uuid]
                _log.info("power_limit_restored", gpu=gpu.uuid, watts=limit)
            return
        if gpu.slice is not None:
            raise LimitRefused("a card in MIG mode is shared by several; set its limit yourself.")
        # Again once a minute, since a card has its own limit after the driver was loaded again.
        if former != wanted or time.monotonic() >= self._again_at:
            limit = await self._helper.limit(gpu.uuid, wanted)
            self._set[gpu.uuid] = wanted
            if former != wanted:
                _log.info("power_limit_set", gpu=gpu.uuid, watts=limit)

    def status(self) -> dict[str, Any]:
        """Return the limits that are set, and why others are not, by the UUIDs of GPUs."""
        return {"set": dict(self._set), "problems": dict(self.problems)}


def wanted_limit(miner: MinerSettings, gpu: Gpu, now: datetime) -> float | None:
    """Return the limit of a card at a moment of local time, None for its own."""
    settings: list[EnergySettings | GpuSettings] = [miner.energy]
    settings += [miner.gpus[name] for name in sorted(miner.gpus, key=len) if gpu.is_named(name)]
    # Those of the card take precedence, and of these the ones with the longest name.
    for source in reversed(settings):
        for window, watts in source.power_limits.items():
            if parse_window(window).end_of(now) is not None:
                return watts
        if source.power_limit is not None:
            return source.power_limit
    return None
