"""Fetches the models that are asked for and paid on this network, if the owner wants that (`miner.models.auto`)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.miner.models.choosing import AskedFor, Fetchable, ModelChoice, OnDisk, choose
from agent.miner.models.downloads import DownloadLimits
from agent.miner.models.locks import FETCHED_MARK, ModelDirectory
from agent.miner.models.provider import Models
from agent.miner.models.store import ModelStore
from agent.miner.settings import ModelChoiceSettings

FIRST_SECONDS: Final = 30.0
"""After a start, when the machine knows which models would run."""
ROUND_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 60.0
"""Pause if nothing could be decided, as while a model arrives."""
RESERVE: Final = 10 * 2**30
"""Bytes of the disk that stay free beside the models that are fetched in this way."""

_log = structlog.get_logger(__name__)


class _Asked(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="ignore")

    service_id: str
    model: str
    jobs: int
    earned: float
    waiting: int
    miners: int


class DemandAnswer(BaseModel, defer_build=True):
    """The coordinator's answer."""

    model_config = ConfigDict(extra="ignore")

    days: int
    models: list[_Asked]


@dataclass(eq=False)
class AutomaticModels:
    """The daemon runs `run`. `read_demand` returns the coordinator's answer or None, `unavailable` the models that would not run here."""

    settings: ModelChoiceSettings
    store: ModelStore
    limits: DownloadLimits
    provider: Models
    _: KW_ONLY
    services: Collection[str]
    read_demand: Callable[[], Awaitable[Any]]
    unavailable: Callable[[], Mapping[str, Mapping[str, str]]]

    def __post_init__(self) -> None:
        self._directory = ModelDirectory(self.store.models_dir)
        self._reported: ModelChoice | None = None
        self.choice: ModelChoice | None = None
        """The latest one; None before the first."""

    async def run(self) -> None:
        """Choose at intervals until cancelled."""
        await asyncio.sleep(FIRST_SECONDS)
        while True:
            if self.settings.auto == "off":
                # A loop of the daemon that ended would end the daemon.
                await asyncio.sleep(ROUND_SECONDS)
                continue
            decided = False
            try:
                decided = await self._decide()
            except (OSError, ValidationError) as error:
                _log.warning("model_choice_failed", error=str(error))
            await asyncio.sleep(ROUND_SECONDS if decided else RETRY_SECONDS)

    def status(self) -> dict[str, Any] | None:
        """Return the latest choice for the daemon's status; None if the owner chooses."""
        if self.settings.auto == "off":
            return None
        choice = self.choice or ModelChoice("It has not been asked yet which models are needed.")
        return {
            "auto": self.settings.auto,
            "model": choice.model,
            "removals": list(choice.removals),
            "reason": choice.reason,
        }

    async def _decide(self) -> bool:
        """Choose, and carry that out. Return whether there was a choice."""
        # One at a time: what arrives changes what the next one is worth.
        if self.provider.arriving or (body := await self.read_demand()) is None:
            return False
        demand = DemandAnswer.model_validate(body)
        choice = await asyncio.to_thread(self._choose, demand)
        self.choice = choice
        if choice != self._reported:
            event = "model_chosen" if choice.model is not None else "no_model_chosen"
            _log.info(
                event,
                model=choice.model,
                reason=choice.reason,
                removals=choice.removals,
                only_shown=self.settings.auto == "show",
            )
            self._reported = choice
        if self.settings.auto == "on" and choice.model is not None:
            await self._carry_out(choice.model, choice)
        return True

    def _choose(self, demand: DemandAnswer) -> ModelChoice:
        demand_by_model = {
            model.model: AskedFor(model.jobs, model.earned, model.waiting, model.miners, demand.days)
            for model in demand.models
            if (entry := self.store.catalogue.get(model.model)) is not None
            and entry.service == model.service_id
        }
        unavailable = self.unavailable()
        fetchable = [
            Fetchable(entry.name, entry.size or sum(file.size or 0 for file in entry.files))
            for entry in list(self.store.catalogue.values())
            if entry.fetchable
            and entry.kind == "model"
            and entry.service in self.services
            and entry.name not in unavailable.get(entry.service, {})
            and not self.store.has(entry.name)
        ]
        # Before the first model, there may be no directory, whose disk could be asked.
        self.store.models_dir.mkdir(parents=True, exist_ok=True)
        stored = self._directory.stored(self.limits.pinned)
        on_disk = [
            OnDisk(model.name, model.size, model.removable and self._is_old(model.name)) for model in stored
        ]
        quota = self.limits.models_quota()
        free = self._directory.free() - RESERVE
        if quota is not None:
            free = min(free, quota - sum(model.size for model in stored))
        # A model of unknown size could be larger than the disk.
        known_sizes = [model for model in fetchable if model.size]
        return choose(
            demand_by_model,
            known_sizes,
            on_disk,
            free,
            least_jobs=self.settings.least_jobs,
            may_remove=quota is not None,
        )

    def _is_old(self, name: str) -> bool:
        try:
            fetched_at = float(
                json.loads((self.store.models_dir / name / FETCHED_MARK).read_bytes())["fetched_at"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return time.time() - fetched_at >= self.settings.least_days * 86_400

    async def _carry_out(self, model: str, choice: ModelChoice) -> None:
        """Remove what goes, and then fetch. A model that is in use stays, and the next round decides again."""
        for name in choice.removals:
            self.provider.command_removal(name)
        for _ in range(60):
            if not any(map(self.store.has, choice.removals)):
                self.provider.command_fetch(model)
                return
            await asyncio.sleep(1)
