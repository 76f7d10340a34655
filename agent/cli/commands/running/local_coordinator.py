"""The coordinator of `aitbc-agent start` and `aitbc-agent coordinator`: its server, and what the commands ask of it.

Miners that join another coordinator never load this module, which needs more than half of an agent's start.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

import structlog

from agent.cli.local_keys import LocalKeys, local_keys
from agent.cli.terminal import activity
from agent.coordinator.app import build_app, build_context
from agent.coordinator.features.browser.logins import DASHBOARD, create_login
from agent.coordinator.features.browser.settings import BrowserSettings
from agent.coordinator.features.enrolments import enrolments
from agent.coordinator.http.server import CoordinatorServer, listen
from agent.coordinator.operations import health
from agent.coordinator.operations.context import Context
from agent.core.errors import ConfigurationError
from agent.sections import section_of
from agent.settings import Settings

START_SECONDS: Final = 120.0
"""How long a coordinator may take from its migrated database to its first answer, on a machine without free processors too."""
ENROLMENT_SECONDS: Final = 600.0
GARBAGE_THRESHOLD: Final = 50_000
"""Number of objects allocated and not freed that triggers a garbage collection of the youngest generation."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LocalCoordinator:
    """A coordinator that serves at `url`, in this process."""

    url: str
    context: Context
    keys: LocalKeys

    async def describe(self) -> str:
        """Return a line about its jobs and miners."""
        return activity.coordinator_line(*await health.summary(self.context))

    async def enrolment_token(self) -> str:
        """Return a token with which the agent's own miner joins."""
        enrolment = await enrolments.create(
            self.context, uses=1, valid_seconds=ENROLMENT_SECONDS, note="the agent's own miner"
        )
        return enrolment.enrolment_token

    async def dashboard(self, *, miner_id: str | None) -> str:
        """Return a line with a login link to the dashboard, or with its plain URL if the line would remain in a log."""
        settings = self.context.settings
        if not section_of(settings, BrowserSettings).dashboard:
            return "Dashboard: disabled (coordinator.dashboard)"
        url = settings.public_url or self.url
        # A login link in a log would let everyone in who may read the log.
        if os.environ.get("JOURNAL_STREAM") or os.environ.get("container"):  # noqa: SIM112 - systemd's name, and podman's
            return f"Dashboard: {urljoin(url, DASHBOARD)} (`aitbc-agent login` creates a login link)"
        link = await create_login(
            self.context, account_id=self.keys.account_id, miner_id=miner_id, admin=True
        )
        return f"Dashboard: {urljoin(url, link.path)}"


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[LocalCoordinator]:
    """Run a coordinator within the block. Raises `ConfigurationError` if it cannot start."""
    # First of all: a port in use is the most frequent mistake, and should be reported before a database is touched.
    listener, url = _listen(settings)
    context = build_context(settings)
    try:
        keys = await local_keys(context, settings.data_dir / "coordinator" / "keys.json")
    except BaseException:
        # Its thread would keep the process alive after the error.
        context.database.close()
        raise
    server = CoordinatorServer(build_app(context), settings.coordinator, context.connections)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http-server")
    try:
        await _started(server, serving, context)
        _collect_rarely()
        yield LocalCoordinator(url, context, keys)
    finally:
        server.should_exit = True
        if not server.started:
            serving.cancel()
        # The error of a server that never started is the reason for which the agent ends, so it is raised.
        await asyncio.gather(serving, return_exceptions=not server.started)
        listener.close()


def _collect_rarely() -> None:
    """Exempt the objects that live as long as the process from garbage collection, and collect less often.

    Reference counts free nearly all objects; the collections took a fifteenth of a busy coordinator's time.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(GARBAGE_THRESHOLD, *gc.get_threshold()[1:])


async def _started(server: CoordinatorServer, serving: asyncio.Task[None], context: Context) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while not server.started:
                if serving.done():
                    # The server's own error says more than the message below.
                    serving.result()
                    raise ConfigurationError("The HTTP server did not start. See its log.")
                await asyncio.sleep(0.005)
    except TimeoutError:
        reason = context.features.cluster.obstacle or "its database answers too slowly"
        message = (
            f"The coordinator did not start within {START_SECONDS:.0f} s: {reason}. Check the database's server (database.url) and the load "
            "of both machines, and start it again."
        )
        # A database that hangs also delays the end.
        log.critical("start_failed", reason=message)
        raise ConfigurationError(message) from None


def _listen(settings: Settings) -> tuple[socket.socket, str]:
    host, port = settings.coordinator.host, settings.coordinator.port
    try:
        listener = listen(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {error.strerror}. Stop the program that uses it, or choose another with --port."
        ) from None
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    address = f"[{reachable}]" if ":" in reachable else reachable
    return listener, f"http://{address}:{listener.getsockname()[1]}"
