"""Runs a coordinator in a thread of the test's process, on a real socket."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import uvicorn.server
import uvloop

from agent.coordinator.app import build_app, build_context
from agent.coordinator.http.server import CoordinatorServer, listen
from agent.coordinator.operations.accounts import access, bookings
from agent.coordinator.operations.context import Context
from agent.settings import Settings
from aitbc.answers.accounts import Role
from support.features import is_installed
from support.servers.databases import empty_database

T = TypeVar("T")
LIMIT_SECONDS = 180


@dataclass
class Served:
    """A running coordinator and keys for it."""

    url: str
    context: Context
    loop: asyncio.AbstractEventLoop
    client_key: str
    other_key: str
    admin_key: str

    def do(self, work: Callable[[Context], Awaitable[T]]) -> T:
        """Run a coroutine function on the coordinator's event loop."""

        async def run() -> T:
            return await work(self.context)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(LIMIT_SECONDS)


# Looking through all installed packages takes a third of a coordinator's start.
if is_installed("payouts"):
    from agent.coordinator.features.payouts.adapters import installed

    vars(installed)["entry_points"] = functools.cache(installed.entry_points)

# uvicorn checks every 0.1 s whether to end, and then waits 0.1 s for its connections. Most tests end a server.
vars(uvicorn.server)["asyncio"] = SimpleNamespace(
    **{**vars(asyncio), "sleep": lambda seconds: asyncio.sleep(seconds / 10)}
)


@contextmanager
def serve(
    data_dir: Path,
    artifacts: dict[str, Any] | None = None,
    payouts: dict[str, Any] | None = None,
    **coordinator: Any,
) -> Iterator[Served]:
    """Run a coordinator with the data in `data_dir`; keyword arguments are its settings, `artifacts` and `payouts` those of these sections."""
    settings = Settings(
        data_dir=data_dir,
        artifacts=artifacts or {},
        # Without the feature there is no such section.
        **({} if payouts is None else {"payouts": payouts}),
        coordinator={"port": 0, **coordinator},
        database={"url": empty_database(data_dir)},
    )
    listener = listen("127.0.0.1", 0)
    context = build_context(settings)
    server = CoordinatorServer(build_app(context), settings.coordinator, context.connections, close_seconds=2)
    loops: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not serving.done(), "the server ended before it started"
            await asyncio.sleep(0.002)
        started.set()
        await serving

    thread = threading.Thread(target=uvloop.run, args=(main(),), name="coordinator", daemon=True)
    thread.start()
    try:
        assert started.wait(LIMIT_SECONDS), "the coordinator did not start"
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        served = Served(url, context, loops[0], "", "", "")
        served.client_key = add_client(served, "tester")
        served.other_key = add_client(served, "somebody else")
        served.admin_key = served.do(
            lambda context: access.create_key(context, Role.ADMIN, name="admin")
        ).secret
        yield served
    finally:
        server.should_exit = True
        thread.join(LIMIT_SECONDS)
        listener.close()


def add_client(served: Served, name: str) -> str:
    """Create an account with credit, and return a key for it."""

    async def make(context: Context) -> str:
        account = await access.create_account(context, name)
        await bookings.add_credit(context, account, Decimal(1_000_000))
        return (await access.create_key(context, Role.CLIENT, name=name, account_id=account)).secret

    return served.do(make)
