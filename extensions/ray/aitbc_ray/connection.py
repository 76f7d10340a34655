"""The connection to a Ray cluster: its nodes and their free resources, and the actors that this miner runs on them.

Only this module imports ray. Ray's errors leave it as `NodeLost`, or as the error that an actor raised.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

import ray
import structlog
from ray._private.state import available_resources_per_node
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from agent.core.errors import ConfigurationError
from agent.deadline import call_within
from aitbc_ray.settings import RaySettings
from runners.api import FailureCode, Retry

CALL_SECONDS: Final = 30.0
"""Time limit of a call of an actor that only moves bytes or reads state."""
_QUERY_SECONDS: Final = 10.0
_MAX_CALLS: Final = 1000
_FOREVER: Final = "31536000"

_log = structlog.get_logger(__name__)


class NodeLost(Retry):
    """A node of the cluster, or an actor on it, no longer answers."""

    default_code = FailureCode.NODE_LOST


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A living node. `resources` are its totals by Ray's names; "memory" is in bytes."""

    id: str
    host: str
    resources: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Demand:
    """What an actor reserves: processors, GPUs, and bytes of main memory."""

    cpus: float
    gpus: float
    memory: int

    def fits(self, free: Mapping[str, float]) -> bool:
        """Whether these resources suffice."""
        return all(free.get(name, 0.0) + 1e-6 >= amount for name, amount in self.named().items())

    def times(self, free: Mapping[str, float]) -> int:
        """Return how many times these resources suffice."""
        return max(0, min(
            (int((free.get(name, 0.0) + 1e-6) // amount) for name, amount in self.named().items() if amount),
            default=1,
        ))  # fmt: skip

    def named(self) -> dict[str, float]:
        """Return it by Ray's names."""
        return {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory)}


class Cluster:
    """A connected cluster. One process can have one."""

    @classmethod
    async def connect(cls, settings: RaySettings) -> Self:
        """Connect to the cluster of `settings.address`. Raises `ConfigurationError`."""
        # Ray's library would end this process when the cluster's head is unreachable for a minute; unsent results need it.
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", _FOREVER)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = settings.address or "auto"
        if address.startswith("ray://"):
            raise ConfigurationError(
                f"miner.ray.address is {address}, which is Ray Client's. Run the agent on a node of the cluster, and name the "
                "head as HOST:6379, or leave the setting out."
            )
        try:
            # In a thread, where Ray installs no handler for signals of its own.
            await call_within(settings.connect_seconds, lambda: _connect(address), name="ray-connect")
        except TimeoutError:
            raise ConfigurationError(
                f"The Ray cluster at {address} did not answer within {settings.connect_seconds:g} s. Check "
                "miner.ray.address, and that `ray status` works on this machine."
            ) from None
        except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ConfigurationError(_why_not(address, error)) from None
        # Ctrl-C and systemd's signal must reach the agent, which ends its jobs first.
        _restore_signals()
        _log.info("ray_connected", address=address, version=ray.__version__)
        return cls()

    async def nodes(self) -> list[ClusterNode]:
        """Return the living nodes that offer processors or GPUs, in the order of their host names and ids. Raises `NodeLost`."""
        reported = await _query(ray.nodes, "ray-nodes")
        nodes = [
            ClusterNode(node["NodeID"], node["NodeManagerHostname"], dict(node["Resources"]))
            for node in reported
            if node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU"))
        ]
        return sorted(nodes, key=lambda node: (node.host, node.id))

    async def available(self) -> dict[str, dict[str, float]]:
        """Return the free resources of each node, by its id. Raises `NodeLost`."""
        return dict(await _query(available_resources_per_node, "ray-available"))

    def start_actor(self, actor_class: type, node_id: str, demand: Demand, *values: Any) -> Any:
        """Return the handle of a new actor on this node, which runs as soon as Ray has reserved its demand."""
        remote: Any = ray.remote(actor_class)
        return remote.options(
            num_cpus=demand.cpus,
            num_gpus=demand.gpus,
            memory=demand.memory or None,
            # The relay of an actor is one call that lasts as long as its process.
            max_concurrency=_MAX_CALLS,
            # A restarted actor would have lost its process, and this miner would not notice.
            max_restarts=0,
            # Not "soft": the model and its files are on this node only.
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        ).remote(*values)

    def end(self, actor: Any) -> None:
        """End an actor's process, and free its resources."""
        with suppress(RayError, RuntimeError, ValueError):
            ray.kill(actor)

    async def close(self) -> None:
        """Disconnect, which ends all actors of this miner."""
        with suppress(TimeoutError):
            await call_within(_QUERY_SECONDS, ray.shutdown, name="ray-shutdown")


async def call(answer: Awaitable[Any], limit: float = CALL_SECONDS) -> Any:
    """Return an actor's answer. Raises `NodeLost`, also after `limit` seconds, or the error that the actor raised."""
    try:
        async with asyncio.timeout(limit):
            return await answer
    except TimeoutError:
        raise NodeLost(f"The node did not answer within {limit:g} s.") from None
    except RayTaskError as error:
        raise _cause(error) from error
    except RayError as error:
        raise NodeLost(_first_line(error)) from error


async def stream(method: Any, *values: Any) -> AsyncIterator[Any]:
    """Yield what an actor's asynchronous generator yields. Raises as `call` does, without a time limit."""
    answers = method.options(num_returns="streaming").remote(*values)
    try:
        async for answer in answers:
            yield await answer
    except RayTaskError as error:
        raise _cause(error) from error
    except RayError as error:
        raise NodeLost(_first_line(error)) from error


def _connect(address: str) -> None:
    # The miner may be rebuilt in the same process, for example for another cluster.
    if ray.is_initialized():
        ray.shutdown()
    ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False, configure_logging=False)


async def _query(function: Any, name: str) -> Any:
    try:
        return await call_within(_QUERY_SECONDS, function, name=name)
    except TimeoutError:
        raise NodeLost("The head of the Ray cluster does not answer.") from None
    except (RayError, RuntimeError, ConnectionError) as error:
        raise NodeLost(f"The head of the Ray cluster cannot be queried: {_first_line(error)}") from error


def _cause(error: RayTaskError) -> Exception:
    cause = error.cause
    if isinstance(cause, Exception) and not isinstance(cause, RayError):
        return cause
    return Retry(f"The node failed: {_first_line(error)}", code=FailureCode.MINER_ERROR)


def _why_not(address: str, error: Exception) -> str:
    reason = _first_line(error)
    if "version" in str(error).lower() and "mismatch" in str(error).lower():
        return (
            f"The Ray cluster at {address} has another version of Ray or Python than this agent ({ray.__version__}). Ray needs the "
            f"same on all nodes: {' '.join(str(error).split())[:300]}"
        )
    return (
        f"The Ray cluster at {address} cannot be reached ({reason.rstrip('.')}). Start Ray on this machine "
        "(`ray start --address=HEAD:6379`), or correct miner.ray.address."
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _restore_signals() -> None:
    """Install this process's handlers again: Ray's library has replaced those of the operating system with its own."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        handler = signal.getsignal(number)
        if handler is not None:
            signal.signal(number, handler)
