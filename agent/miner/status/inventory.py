"""Lists the catalogue's models with their state on this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from agent.catalogue import CatalogueEntry, load_owners_catalogue
from agent.core.values.quantities import format_optional_time
from agent.miner.machine.capabilities import tools
from agent.miner.models.locks import FETCHED_MARK, ModelDirectory, arrived, size_of
from agent.miner.models.store import ModelStore
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from runners.api import Device, Runner
from runners.registry import installed


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model. Sizes are bytes, times RFC 3339.

    `size` is its size on disk, `arrived` that of its partial files, `size_to_fetch` the size in the catalogue of a missing
    model. `digest` identifies its weights as in receipts, and is None until it has been computed. `in_use` means that a job
    uses it or a program fetches it. `source` is its repository, first address or directory. `own` is true for entries of
    the owner's catalogue. `gated` models can be downloaded only with a token of an account that has accepted their terms. Entries that are not
    `verified` were not compared with their source when they were written.
    """

    name: str
    service: str
    kind: str
    description: str
    licence: str
    gated: bool
    verified: bool
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


@dataclass(eq=False)
class Inventory:
    """Lists the models of a directory. `loaded` are the names of models that a running agent has in memory."""

    settings: Settings
    store: ModelStore
    model_directory: ModelDirectory
    loaded: Collection[str]

    def __post_init__(self) -> None:
        self._own = load_owners_catalogue(self.settings.data_dir)
        self._runners = installed()

    def models(self) -> list[ListedModel]:
        """Return all models of the catalogue, in its order. Reads file sizes but no contents."""
        return [self._describe(entry) for entry in self.store.catalogue.values()]

    def _describe(self, entry: CatalogueEntry) -> ListedModel:
        name = entry.name
        directory = self.store.location(entry)
        on_disk = self.store.has(name)
        sizes = [file.size for file in entry.files if file.size is not None]
        last_used = self.model_directory.last_used(name)
        return ListedModel(
            name=name,
            service=entry.service,
            kind=entry.kind,
            description=entry.description,
            licence=entry.licence,
            gated=entry.gated,
            verified=entry.verified,
            vram=entry.vram,
            memory=entry.memory,
            source=entry.path or (entry.files[0].url if entry.files else entry.repository),
            own=name in self._own,
            fetchable=entry.fetchable,
            on_disk=on_disk,
            size=size_of(directory, follow=True) if on_disk else None,
            arrived=arrived(self.model_directory.partial(name)),
            size_to_fetch=sum(sizes) if entry.files and len(sizes) == len(entry.files) else entry.size,
            fetched=(directory / FETCHED_MARK).is_file(),
            pinned=name in section_of(self.settings, MinerSettings).models_pinned,
            in_use=self.model_directory.in_use(name),
            loaded=name in self.loaded,
            last_used=format_optional_time(last_used),
            digest=self._digest(entry) if on_disk and entry.kind == "model" else None,
        )

    def _digest(self, entry: CatalogueEntry) -> str | None:
        runner: type[Runner[Any]] | None = self._runners.get(entry.service)
        if runner is None:
            return None
        model = self.store.resolve(entry.name if entry.base is None else entry.base)
        model = replace(
            model, adapters={} if entry.base is None else {entry.name: self.store.location(entry)}
        )
        try:
            # The runner determines which files are the weights, without its engine.
            weights = runner(tools(self.settings), Device("cpu", "")).weights(model)
            return self.store.known_digest(weights)
        except Exception:  # noqa: BLE001 - an error of a third-party runner must not cost the whole list
            return None


def loaded_models(children: Iterable[dict[str, Any]]) -> set[str]:
    """Return the models that an agent has loaded, from the `children` of its status."""
    return {child["model"] for child in children if child.get("model") is not None}
