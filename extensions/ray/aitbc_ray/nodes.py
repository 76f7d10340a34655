"""The nodes of the cluster as the miner sees them: which live, what each can do, and its current state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, Final

import structlog

from agent.catalogue import CatalogueEntry
from agent.core.errors import ConfigurationError
from agent.miner.machine.gpu_power import CardPower
from agent.miner.machine.gpus import Gpu
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from aitbc_ray.connection import Cluster, ClusterNode, Demand, NodeLost, call
from aitbc_ray.node import NodeAgent, NodeReport, NodeState, node_settings
from aitbc_ray.settings import RaySettings
from runners.api import Device

POLL_SECONDS: Final = 2.0
"""How often the nodes are read."""
PREPARE_SECONDS: Final = 120.0
"""Time limit for a node to start its actor and to probe its runners."""
_NOTHING: Final = Demand(0, 0, 0)
_RETRY_SECONDS: Final = 60.0

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Node:
    """A node that works. `available` are the resources that nobody has reserved, as of the last poll."""

    info: ClusterNode
    actor: Any
    report: NodeReport
    state: NodeState
    available: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name for people."""
        return f"{self.info.host} ({self.info.id[:8]})"

    def device(self, names: list[str], demand: Demand) -> Device:
        """Return the device of an actor to which Ray has assigned these GPUs, by index or UUID; the processor without a GPU."""
        capabilities = self.report.capabilities
        threads = max(1, int(demand.cpus))
        if not demand.gpus:
            return replace(capabilities.processor, threads=threads)
        gpus = [gpu for name in names for gpu in capabilities.gpus if _names(name, gpu)]
        if not gpus or len(gpus) != len(names):
            raise NodeLost(f"Ray has assigned GPUs {names} on {self.name}, which NVML does not report there.")
        devices = {device.uuid: device for device in capabilities.devices}
        first, *others = (devices[gpu.uuid] for gpu in gpus)
        return replace(first.together(others), threads=threads)


def _names(name: str, gpu: Gpu) -> bool:
    return int(name) == gpu.index if name.isdecimal() else gpu.uuid.startswith(name)


class Nodes:
    """The living nodes. Call `start` once, then run `run`. `on_change` is called after a node joined, was lost, or has other free resources.

    `refused` are the reasons why nodes are not used, by their names.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        catalogue: Mapping[str, CatalogueEntry],
        services: tuple[str, ...],
    ) -> None:
        self.cluster = cluster
        self._settings = settings
        self._ray = section_of(section_of(settings, MinerSettings), RaySettings)
        self._values = (node_settings(settings), dict(catalogue))
        self._services = services
        self._living: dict[str, Node] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._preparing: dict[str, asyncio.Task[None]] = {}
        self.reachable = True
        self.on_change: Callable[[], None] = lambda: None

    @property
    def living(self) -> list[Node]:
        """The nodes that work, in a fixed order."""
        return sorted(self._living.values(), key=lambda node: (node.info.host, node.info.id))

    def lives(self, node: Node) -> bool:
        """Whether this node still works."""
        return self._living.get(node.info.id) is node

    @property
    def refused(self) -> dict[str, str]:
        """Why nodes of the cluster are not used, by their names."""
        return {name: reason for name, (_, reason) in self._refused.items()}

    async def start(self) -> None:
        """Prepare all nodes. Raises `ConfigurationError` if none works."""
        try:
            nodes = await self.cluster.nodes()
        except NodeLost as error:
            raise ConfigurationError(str(error)) from error
        # Together: preparing takes a minute, and a cluster may have a hundred nodes.
        await asyncio.gather(*(self._prepare(info) for info in nodes))
        await self._read()
        if not self._living:
            reasons = " ".join(f"{name}: {reason}" for name, reason in self.refused.items())
            raise ConfigurationError(f"No node of the Ray cluster can be used. {reasons}")

    async def run(self) -> None:
        """Read the nodes until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.poll()

    async def poll(self) -> None:
        """Read which nodes live, and their state."""
        earlier = self._view()
        try:
            nodes = {info.id: info for info in await self.cluster.nodes()}
        except NodeLost as error:
            if self.reachable:
                _log.warning("cluster_unreachable", error=str(error))
            self.reachable = False
            self.on_change()
            return
        self.reachable = True
        for node_id in self._living.keys() - nodes.keys():
            self.lose(self._living[node_id], "Ray reports it as dead.")
        now = asyncio.get_running_loop().time()
        for node_id, info in nodes.items():
            # Preparing starts processes and reads GPUs there; a node that refuses would otherwise do so every few seconds.
            waits = self._refused.get(_name(info), (0.0, ""))[0] > now
            if node_id not in self._living and node_id not in self._preparing and not waits:
                task = asyncio.create_task(self._prepare(info), name=f"node-{node_id[:8]}")
                self._preparing[node_id] = task
                task.add_done_callback(lambda _, node_id=node_id: self._preparing.pop(node_id, None))  # type: ignore[misc]  # the default binds it
        await self._read()
        # Each change is sent to the coordinator.
        if self._view() != earlier:
            self.on_change()

    def lose(self, node: Node, reason: str) -> None:
        """Stop using a node until it is found again."""
        if self.lives(node):
            del self._living[node.info.id]
            self.cluster.end(node.actor)
            _log.warning("node_lost", node=node.name, reason=reason)
            self.on_change()

    async def close(self) -> None:
        """End the actors of all nodes."""
        for task in self._preparing.values():
            task.cancel()
        for node in self._living.values():
            self.cluster.end(node.actor)
        self._living.clear()

    async def read_available(self) -> None:
        """Read the free resources of all nodes. Raises `NodeLost`."""
        available = await self.cluster.available()
        for node_id, node in self._living.items():
            node.available = available.get(node_id, {})

    async def _read(self) -> None:
        async def of(node: Node) -> None:
            try:
                node.state = await call(node.actor.state.remote(), self._ray.lost_seconds)
            except NodeLost as error:
                self.lose(node, str(error))

        try:
            await self.read_available()
        except NodeLost as error:
            _log.warning("cluster_unreachable", error=str(error))
        await asyncio.gather(*(of(node) for node in list(self._living.values())))

    async def _prepare(self, info: ClusterNode) -> None:
        ray = self._ray
        actor = self.cluster.start_actor(
            NodeAgent,
            info.id,
            _NOTHING,
            *self._values,
            self._services,
            info.id,
            ray.directory,
            ray.models_dir,
        )
        try:
            report = await call(actor.prepare.remote(), PREPARE_SECONDS)
            _check_version(report)
            state = await call(actor.state.remote())
        except Exception as error:  # noqa: BLE001 - a node's own errors, which concern no other node
            self._refuse(info, actor, str(error).strip() or type(error).__name__)
            return
        # A cancelled task leaves an actor that nobody knows.
        except BaseException:
            self.cluster.end(actor)
            raise
        self._refused.pop(_name(info), None)
        self._living[info.id] = Node(info, actor, report, state)
        _log.info("node_joined", node=_name(info), services=sorted(report.capabilities.services))

    def _refuse(self, info: ClusterNode, actor: Any, reason: str) -> None:
        self.cluster.end(actor)
        until = asyncio.get_running_loop().time() + _RETRY_SECONDS
        self._refused[_name(info)] = (until, reason)
        _log.warning("node_refused", node=_name(info), reason=reason)

    def _view(self) -> Any:
        return [
            (
                node.info.id,
                dict(node.available),
                node.state.present,
                [dict(item) for item in node.state.arriving],
            )
            for node in self.living
        ]


class ClusterGpus:
    """The GPUs of all nodes, as `Gpus` has those of one machine. An `index` counts through all nodes."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    @property
    def last(self) -> tuple[Gpu, ...]:
        """The GPUs as of the last poll."""
        gpus = [gpu for node in self._nodes.living for gpu in node.state.gpus]
        return tuple(replace(gpu, index=index) for index, gpu in enumerate(gpus))

    @property
    def reason(self) -> str | None:
        """Why GPUs are missing or unusable."""
        reasons = [
            f"{node.name}: {node.state.gpu_reason}" for node in self._nodes.living if node.state.gpu_reason
        ]
        return " ".join(reasons) or None

    def snapshot(self) -> tuple[Gpu, ...]:
        """Return `last`."""
        return self.last

    async def refresh(self) -> tuple[Gpu, ...]:
        """Return `last`, which is a few seconds old at most."""
        return self.last

    def others(self) -> Mapping[str, int]:
        """Return how many processes of other programs compute on each GPU, by its UUID."""
        return {uuid: count for node in self._nodes.living for uuid, count in node.state.others.items()}

    def largest_other(self) -> Mapping[str, int]:
        """Return nothing: the nodes do not report the memory of single programs."""
        return {}

    def energy(self) -> Mapping[str, CardPower]:
        """Return the power of each GPU as of the last poll. The power of a slice's card is not its own."""
        return {
            gpu.uuid: CardPower(gpu.uuid, None, gpu.power if gpu.slice is None else None) for gpu in self.last
        }

    def close(self) -> None:
        """Nothing to close: the nodes own their drivers."""


def _check_version(report: NodeReport) -> None:
    agent = version("aitbc-agent")
    if report.agent != agent:
        raise NodeLost(
            f"It has aitbc-agent {report.agent}, and this miner {agent}. Install the same version there."
        )


def _name(info: ClusterNode) -> str:
    return f"{info.host} ({info.id[:8]})"
