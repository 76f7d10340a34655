"""Serves the miner's metrics to Prometheus, on a port of their own if the settings name one."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import uvicorn

from agent.core.errors import ConfigurationError
from agent.metrics import MEDIA_TYPE, Labels, Meter, Metric, Values
from agent.miner import metrics

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

_CLOSE_SECONDS: Final = 1
_PERCENT: Final = 100


def read(status: Mapping[str, Any], directories: Mapping[str, Path]) -> dict[Metric, Values]:
    """Return the metrics in a miner's status, and the free disk space of `directories`."""
    slots, cards = status["slots"], status["gpus"]
    running: Counter[Labels] = Counter((lease["service"],) for lease in status["leases"])
    plain = {
        metrics.PAUSED: status["paused"] is not None,
        metrics.SLOTS: slots["total"],
        metrics.SLOTS_FREE: slots["free"],
        metrics.OUTBOX: status["outbox"],
        metrics.CHILDREN: len(status["children"]),
        metrics.UNAVAILABLE: len(status["unavailable"]),
    }
    connected: dict[Labels, float] = {
        (transport,): status["connection"] == transport for transport in ("websocket", "poll")
    }
    unavailable_models: dict[Labels, float] = {
        (service,): len(models) for service, models in status["unavailable_models"].items()
    }
    return {
        **{metric: {(): value} for metric, value in plain.items()},
        metrics.CONNECTED: connected,
        metrics.RUNNING: running,
        metrics.UNAVAILABLE_MODELS: unavailable_models,
        metrics.GPU_MEMORY_BYTES: _by_gpu(cards, "memory_total"),
        metrics.GPU_MEMORY_FREE_BYTES: _by_gpu(cards, "memory_free"),
        metrics.GPU_UTILIZATION: _by_gpu(cards, "utilization", _PERCENT),
        metrics.GPU_TEMPERATURE: _by_gpu(cards, "temperature"),
        metrics.GPU_POWER: _by_gpu(cards, "power"),
        metrics.DISK_FREE_BYTES: {
            (name,): shutil.disk_usage(path).free for name, path in directories.items() if path.exists()
        },
    }


def _by_gpu(cards: list[dict[str, Any]], name: str, unit: float = 1) -> Values:
    """Return a value of each GPU that reports it."""
    return {(card["uuid"], card["name"]): card[name] / unit for card in cards if card.get(name) is not None}


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, since the agent stops its parts in order."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture no signals."""
        yield


@dataclass(eq=False)
class MetricsServer:
    """Answers `GET /metrics`. `start`, then `close`; `url` is known in between."""

    host: str
    port: int
    meter: Meter
    read: Callable[[], Mapping[Metric, Values]]

    def __post_init__(self) -> None:
        self.url: str | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start serving. Raises `ConfigurationError` if the port is not available."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server((self.host, self.port), family=family)
        except OSError as error:
            raise ConfigurationError(
                f"miner.metrics_port: cannot listen on {self.host} port {self.port}: {error.strerror}. Choose another one."
            ) from None
        config = uvicorn.Config(
            cast("Any", self._answer),
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_CLOSE_SECONDS,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="miner-metrics")
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"http://{host}:{listener.getsockname()[1]}/metrics"

    async def close(self) -> None:
        """Stop serving."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving

    async def _answer(self, scope: Mapping[str, Any], _: Receive, send: Send) -> None:
        valid = scope["path"] == "/metrics" and scope["method"] == "GET"
        body = self.meter.text(self.read()) if valid else b"Only GET /metrics is served here.\n"
        kind = MEDIA_TYPE if valid else "text/plain; charset=utf-8"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if valid else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
