"""A Ray cluster in which a miner's jobs run: its nodes, offered as one machine."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent.catalogue import load_catalogue
from agent.metrics import Meter
from agent.miner.backend import MinerOptions
from agent.miner.executor.contract import Executor
from agent.miner.models.provider import Models
from agent.miner.models.store import ModelStore
from agent.sections import section_of
from aitbc_ray.connection import Cluster
from aitbc_ray.executor import RayExecutor
from aitbc_ray.models import ClusterModels
from aitbc_ray.nodes import ClusterGpus, Nodes
from aitbc_ray.offers import merged
from aitbc_ray.settings import RaySettings

_log = structlog.get_logger(__name__)


class RayBackend:
    """A `Backend` whose nodes are prepared."""

    def __init__(self, options: MinerOptions, store: ModelStore, cluster: Cluster, nodes: Nodes) -> None:
        self._options = options
        self._cluster = cluster
        self._nodes = nodes
        self._count = len(nodes.living)
        self.store = store
        self.gpus = ClusterGpus(nodes)
        self.capabilities = merged(nodes.living, options.miner.slots)

    @classmethod
    async def open(cls, options: MinerOptions) -> RayBackend:
        """Connect to the cluster of the settings, and prepare its nodes. Raises `ConfigurationError`."""
        settings = options.settings
        store = ModelStore(settings.models_dir, load_catalogue(settings.data_dir))
        cluster = await Cluster.connect(section_of(options.miner, RaySettings))
        nodes = Nodes(cluster, settings, store.catalogue, tuple(options.runners))
        try:
            await nodes.start()
        # Ray keeps the connection of a process until `shutdown`.
        except BaseException:
            await cluster.close()
            raise
        return cls(options, store, cluster, nodes)

    async def changed(self) -> bool:
        """Whether the nodes can do more than when they were prepared: there is a new GPU, service, or node without GPUs."""
        living = self._nodes.living
        if not living:
            return False
        now, prepared = merged(living, None), self.capabilities
        # Only what is added counts: what is missing may come back, and jobs wait for it.
        gpus = {gpu.uuid for gpu in now.gpus} - {gpu.uuid for gpu in prepared.gpus}
        services = now.services.keys() - prepared.services.keys()
        if gpus or services or (not now.gpus and len(living) > self._count):
            _log.info("cluster_grew", gpus=sorted(gpus), services=sorted(services), nodes=len(living))
            return True
        return False

    def start(
        self, meter: Meter, on_models_changed: Callable[[], None], on_disk_changed: Callable[[], None]
    ) -> tuple[Executor, Models]:
        """See `Backend`."""
        executor = RayExecutor(
            self._nodes,
            self.store,
            self._options.miner,
            self.capabilities.services,
            self._options.runners,
            self._options.directory,
            meter=meter,
            on_change=on_models_changed,
        )
        models = ClusterModels(
            self._nodes, self.store, on_change=on_disk_changed, release=executor.release_model
        )
        return executor, models

    async def close(self) -> None:
        """End the actors on the nodes, and disconnect."""
        await self._nodes.close()
        await self._cluster.close()
