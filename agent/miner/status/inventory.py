"""The models of the catalogue as they stand on this machine, for whoever asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from agent.configuration import load_owners_catalogue
from agent.core.machine.catalogue import CatalogueEntry
from agent.core.values.quantities import format_time
from agent.miner.machine.capabilities import tools
from agent.miner.models.locks import FETCHED_MARK, ModelDirectory, arrived, size_of
from agent.miner.models.store import ModelStore
from agent.settings import Settings
from runners.api import Device, Runner
from runners.registry import installed


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model. Sizes are bytes, times RFC 3339.

    `size` is what it takes on disk, `arrived` what is there of one that is not whole yet, `size_to_fetch` what the
    catalogue says of one that is not there. `digest` names its weights as receipts do, and is None before somebody
    computed it. `in_use`: a job works with it, or somebody fetches it. `source` is the repository, the first address or the directory that it comes from.
    """

    name: str
    service: str
    kind: str
    description: str
    licence: str
    vram: int
    memory: int
    source: str | None
    own: bool
    fetchable: bool
    on_disk: bool
    size: int | None
    arrived: int
    size_to_fetch: int | None
    fetched: bool
    pinned: bool
    in_use: bool
    loaded: bool
    last_used: str | None
    digest: str | None


class Inventory:
    """Takes stock of a models directory. `loaded` names what a running agent holds in memory."""

    def __init__(
        self, settings: Settings, store: ModelStore, model_directory: ModelDirectory, loaded: Collection[str]
    ) -> None:
        self._settings = settings
        self._store = store
        self._model_directory = model_directory
        self._loaded = loaded
        self._own = load_owners_catalogue(settings.data_dir)
        self._runners = installed()

    def take(self) -> list[ListedModel]:
        """All models of the catalogue, in its order. Reads sizes and no contents."""
        return [self._look_at(entry) for entry in self._store.catalogue.values()]

    def _look_at(self, entry: CatalogueEntry) -> ListedModel:
        name = entry.name
        directory = self._store.location(entry)
        on_disk = self._store.has(name)
        sizes = [file.size for file in entry.files if file.size is not None]
        used = self._model_directory.last_used(name)
        return ListedModel(
            name=name,
            service=entry.service,
            kind=entry.kind,
            description=entry.description,
            licence=entry.licence,
            vram=entry.vram,
            memory=entry.memory,
            source=entry.path or (entry.files[0].url if entry.files else entry.repository),
            own=name in self._own,
            fetchable=entry.fetchable,
            on_disk=on_disk,
            size=size_of(directory) if on_disk else None,
            arrived=arrived(self._model_directory.partial(name)),
            size_to_fetch=sum(sizes) if entry.files and len(sizes) == len(entry.files) else None,
            fetched=(directory / FETCHED_MARK).is_file(),
            pinned=name in self._settings.miner.models_pinned,
            in_use=self._model_directory.in_use(name),
            loaded=name in self._loaded,
            last_used=None if used is None else format_time(used),
            digest=self._digest(entry) if on_disk and entry.kind == "model" else None,
        )

    def _digest(self, entry: CatalogueEntry) -> str | None:
        runner: type[Runner[Any]] | None = self._runners.get(entry.service)
        if runner is None:
            return None
        model = self._store.resolve(entry.name)
        try:
            # Which files are the weights is the runner's to say, and takes no engine.
            weights = runner(tools(self._settings), Device("cpu", "")).weights(model)
            return self._store.known_digest(weights)
        except Exception:  # noqa: BLE001 - a runner may be a third party's, and a list is worth having without a digest
            return None


def loaded_models(children: Iterable[dict[str, Any]]) -> set[str]:
    """The models that an agent's child processes hold, from the `children` of its status."""
    return {child["model"] for child in children if child.get("model") is not None}
