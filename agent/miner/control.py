"""The local control socket, through which commands on the same machine call a running daemon.

A request is one line with a JSON object, and so is the answer: `{"call": "status"}`, `{"call": "stop", "drain": true}`.
Only the owner may connect (mode 0600).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from agent.core.errors import AgentError

_NAME: Final = "control.sock"
_LIMIT_SECONDS: Final = 10.0
_MAX_LINE: Final = 2**20
_MAX_PATH: Final = 100
"""The kernel limits a socket's path to 107 bytes."""
_MAX_CLIENTS: Final = 16

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_log = structlog.get_logger(__name__)


class ControlUnavailable(AgentError):
    """No daemon answers on this data directory's control socket."""


class CallRefused(AgentError):
    """The daemon refused the call. The message is the daemon's."""


class ControlServer:
    """Serves `handlers` by call name, on `control.sock` in `directory` (DATA_DIR/miner)."""

    def __init__(self, directory: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = directory / _NAME
        self._handlers = dict(handlers)
        self._server: asyncio.Server | None = None
        self._clients = 0

    async def start(self) -> None:
        """Start serving. A socket of an earlier daemon is replaced: the directory's lock proves that it has ended."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            with _short(self._path) as address:
                listener.bind(address)
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_MAX_LINE)
        except OSError:
            listener.close()
            raise

    async def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                if self._clients <= _MAX_CLIENTS:
                    writer.write(orjson.dumps(self._answer(await reader.readline()), default=str) + b"\n")
                    await writer.drain()
        except (OSError, ValueError, TimeoutError) as error:  # ValueError: a line over the limit
            _log.info("control_client_dropped", error=type(error).__name__)
        finally:
            self._clients -= 1
            writer.close()

    def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = orjson.loads(line)
            handler = self._handlers[request["call"]]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return {
                "error": f"A request is one JSON line with one of these calls: {', '.join(sorted(self._handlers))}."
            }
        try:
            return handler(request)
        except (AgentError, OSError) as error:
            return {"error": str(error)}


async def ask(data_dir: Path, call: str, **fields: Any) -> dict[str, Any]:
    """Call the daemon of a data directory. Raises `ControlUnavailable` if none answers, `CallRefused` if it refuses."""
    path = data_dir / "miner" / _NAME
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            with _short(path) as address:
                reader, writer = await asyncio.open_unix_connection(address, limit=_MAX_LINE)
            try:
                writer.write(orjson.dumps({"call": call, **fields}) + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
        answer = orjson.loads(line)
    except (OSError, TimeoutError, ValueError) as error:
        raise ControlUnavailable(f"No agent answers in {data_dir} ({type(error).__name__}).") from error
    if not isinstance(answer, dict):
        raise ControlUnavailable(f"The program that answers in {data_dir} is not an agent.")
    if "error" in answer:
        raise CallRefused(str(answer["error"]))
    return answer


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield an address for `path` within the kernel's limit: through a descriptor of its directory if it is long."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
