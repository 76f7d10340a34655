"""`aitbc-agent start` and `aitbc-agent coordinator`: compose the parts and run them until a signal stops them."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, Any, Final

import structlog
import typer
import uvloop

from agent import telemetry
from agent.cli import agent_file
from agent.cli.agent_file import AgentFile
from agent.cli.options import ConfigFile, DataDir, Enroll, reading_from, secret_from
from agent.cli.systemd.notify import Notifier
from agent.cli.systemd.watchdog import Watchdog
from agent.cli.terminal import activity, live, logs
from agent.cli.terminal.log_file import LogFile
from agent.configuring.reading import SettingsReading
from agent.core.liveness import Liveness
from agent.fault_points import reach
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from agent.updates.starting import before_start
from agent.updates.supervisor import start_again
from agent.updates.watch import UpdateWatch

if TYPE_CHECKING:
    from agent.cli.commands.running.local_coordinator import LocalCoordinator
    from agent.miner.daemon import Daemon
    from agent.miner.machine.selftest_report import SelftestReport

PATIENCE_SECONDS: Final = 20.0
"""How long readiness is delayed until the coordinator responds. After that the service counts as started, since a machine must boot
even while its coordinator is unreachable."""
STOP_MARGIN_SECONDS: Final = 60.0
"""How long a stop may take in addition to the drain: to cancel runs, send results and close."""

log = structlog.get_logger()

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[
    int | None, typer.Option("--port", help="Port to listen on; 0 picks a free one.", show_default="8420")
]


def start(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", help="Join this coordinator instead of starting one.")
    ] = None,
    enroll: Enroll = None,
    plain: Annotated[bool, typer.Option("--plain", help="Print lines instead of the live panel.")] = False,
    ask: Annotated[
        bool,
        typer.Option(
            "--ask/--no-ask", help="Whether the first start on a terminal asks what it cannot know."
        ),
    ] = True,
) -> None:
    """Run a miner and, without --coordinator, a coordinator for it.

    Examples:
      aitbc-agent start
      aitbc-agent start --coordinator https://jobs.example.org --enroll -
    """
    reading = reading_from(
        data_dir,
        config,
        coordinator={"host": host, "port": port},
        miner={"coordinator": coordinator, "enrolment_token": secret_from(enroll, "Enrolment token")},
    )
    if ask and sys.stdin.isatty():
        from agent.cli.commands.running.first_run import ask_owner  # noqa: PLC0415 - services start without it

        reading = ask_owner(reading)
    with_panel = live.can_show(plain=plain)
    # If the log is redirected to a file, the panel must not take it away from there.
    pane = live.LogPane() if with_panel and sys.stderr.isatty() else None
    panel_log = pane or live.LogPane() if with_panel else None
    _run(reading, "start", lambda updates: _start(reading, panel_log, updates), pane)
    # The panel leaves nothing on the screen.
    if with_panel:
        typer.echo("The agent has stopped.")


def coordinator(
    data_dir: DataDir = None, config: ConfigFile = None, host: Host = None, port: Port = None
) -> None:
    """Run a coordinator without a miner; miners join it over the network.

    Examples:
      aitbc-agent coordinator
      aitbc-agent coordinator --host 0.0.0.0 --port 8420
    """
    reading = reading_from(data_dir, config, coordinator={"host": host, "port": port})
    _run(reading, "coordinator", lambda updates: _coordinate(reading.settings, updates))


def _run(
    reading: SettingsReading,
    command: str,
    agent: Callable[[UpdateWatch], Coroutine[None, None, None]],
    pane: live.LogPane | None = None,
) -> None:
    """Run the agent until it has stopped, or start it again, in this process and in the version that is due.

    Ctrl-C before it handles signals is a normal stop too, not an error that `make start` would report.
    """
    settings = reading.settings
    log_file = LogFile(settings.data_dir, settings.log)
    logs.configure(settings.log, pane, log_file)
    telemetry.configure()
    # A watchdog's SIGABRT prints the stack of each thread.
    faulthandler.enable()
    updates = UpdateWatch(settings, reading.file)
    joined = section_of(settings, MinerSettings).coordinator if command == "start" else None
    with log_file.recorded(command, joined), agent_file.exclusive(settings):
        before_start(settings, Notifier().alive)
        # If a signal is ignored, as in the background of a script, it stays ignored.
        if callable(signal.getsignal(signal.SIGINT)):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            uvloop.run(agent(updates))
    if updates.restarting:
        reach("update.drained")
        start_again(tuple(sys.argv[1:]))


async def _start(reading: SettingsReading, pane: live.LogPane | None, updates: UpdateWatch) -> None:
    settings = reading.settings
    miner = section_of(settings, MinerSettings)
    if miner.coordinator is not None:
        await _mine(reading, miner.coordinator.rstrip("/"), miner.enrolment_token, None, pane, updates)
        return
    async with _coordinator(settings) as local:
        await _mine(reading, local.url, await local.enrolment_token(), local, pane, updates)


async def _coordinate(settings: Settings, updates: UpdateWatch) -> None:
    stopped = asyncio.Event()

    def stop() -> None:
        updates.stopping()
        stopped.set()

    async with _coordinator(settings) as local:
        on_signals(stop)
        watchdog = Watchdog(Notifier(), local.context.monitoring.liveness, local.describe)
        _ready(settings, _content(local.url, None, local, miner_key=None))
        typer.echo(await local.dashboard(miner_id=None))
        watchdog.ready(await local.describe())
        updates.ready(None)
        async with watchdog.running(), updates.running(stopped.set):
            if sys.stdout.isatty():
                await activity.print_changes(local.describe, stopped)
            await stopped.wait()
        if not updates.restarting:
            watchdog.stopping("Stopping", STOP_MARGIN_SECONDS)
        agent_file.remove(settings)


def _coordinator(settings: Settings) -> AbstractAsyncContextManager[LocalCoordinator]:
    # Until the coordinator serves: its start creates hardly any garbage.
    gc.disable()
    from agent.cli.commands.running.local_coordinator import serving  # noqa: PLC0415 - a miner starts faster without it

    return serving(settings)


async def _mine(
    reading: SettingsReading,
    url: str,
    token: str | None,
    local: LocalCoordinator | None,
    pane: live.LogPane | None,
    updates: UpdateWatch,
) -> None:
    """Run a miner until a signal stops it. When the machine's hardware or engines have changed, replace it with a new one."""
    # Imports create hardly any garbage.
    gc.disable()
    # Imported once the settings are known to be right, so that an error in them is shown at once.
    from agent.miner.daemon import Daemon  # noqa: PLC0415 - a coordinator starts faster without it
    from agent.miner.machine.probe_results import ProbeResults  # noqa: PLC0415 - as above

    gc.enable()

    settings = reading.settings
    liveness = local.context.monitoring.liveness if local else Liveness()
    # Outlives the daemons below: an engine takes long to probe, and most of them are the same after a change.
    probes = ProbeResults()
    options: dict[str, Any] = {
        "liveness": liveness,
        "reading": reading,
        "probes": probes,
        "run_selftest": _run_selftest,
        "updates": updates,
    }
    daemon = Daemon(settings, url, token, **options)
    started = stopping = False

    async def describe() -> str:
        status = daemon.status() if daemon.prepared else None
        if status is None or not (started or status["refusal"]):
            line = activity.JOINING
        else:
            line = activity.miner_line(status)
        return f"{line}; {await local.describe()}" if local else line

    watchdog = Watchdog(Notifier(), liveness, describe)

    def stop() -> None:
        nonlocal stopping
        restarting = updates.restarting
        updates.stopping()
        if restarting or not stopping:
            watchdog.stopping(
                activity.STOPPING, section_of(settings, MinerSettings).drain_seconds + STOP_MARGIN_SECONDS
            )
        # The second signal means "at once"; a restart has begun to drain already.
        if not restarting:
            daemon.request_stop(drain=not stopping)
        stopping = True

    def restart() -> None:
        nonlocal stopping
        daemon.request_stop()
        stopping = True

    on_signals(stop)
    async with watchdog.running(), _agent_file_removed(settings), updates.running(restart):
        while True:
            panel = None if pane is None else live.LivePanel(url, daemon, pane, on_stop=stop)
            async with panel.shown() if panel is not None else nullcontext():
                await _start_miner(daemon, watchdog)
                started = True
                if not stopping:
                    updates.ready(daemon.workload)
                    await _announce(settings, url, daemon, local, panel)
                    watchdog.ready(activity.READY)
                await daemon.run()
            # Otherwise the machine has changed: the same process builds a new miner, so that systemd sees no restart.
            if stopping or not daemon.machine_changed:
                return
            started = False
            daemon = Daemon(daemon.settings, url, token, **options)


async def _run_selftest(
    settings: Settings, minutes: float, chosen: Collection[str], on_step: Callable[[str], None]
) -> SelftestReport:
    """Test this machine; see `Selftest`."""
    from agent.miner.selftest.selftest import run_selftest  # noqa: PLC0415 - most runs of the agent need it once a week

    return await run_selftest(settings, minutes, chosen, on_step)


@asynccontextmanager
async def _agent_file_removed(settings: Settings) -> AsyncIterator[None]:
    """Remove the agent file at the end. It stays while a miner is replaced: its content does not change."""
    try:
        yield
    finally:
        agent_file.remove(settings)


async def _start_miner(daemon: Daemon, watchdog: Watchdog) -> None:
    """Start the miner. If the coordinator stays unreachable, report readiness to the supervisor anyway."""
    # A supervisor would end a miner whose coordinator is down, although it only has to wait.
    waiting = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, watchdog.ready, activity.JOINING)
    try:
        await daemon.start()
    finally:
        waiting.cancel()


async def _announce(
    settings: Settings,
    url: str,
    daemon: Daemon,
    local: LocalCoordinator | None,
    panel: live.LivePanel | None,
) -> None:
    """Announce that the miner is ready, and the URL of the dashboard."""
    _ready(settings, _content(url, daemon, local, miner_key=daemon.api_key), quiet=panel is not None)
    if local is None:
        return
    dashboard = await local.dashboard(miner_id=daemon.miner_id)
    if panel is None:
        typer.echo(dashboard)
    else:
        panel.announce(dashboard)


def _content(
    url: str, daemon: Daemon | None, local: LocalCoordinator | None, *, miner_key: str | None
) -> AgentFile:
    log_key = local.context.signer.vkey if local else daemon.log_key if daemon else ""
    return AgentFile(
        url=url,
        pid=os.getpid(),
        miner_id=daemon.miner_id if daemon else None,
        log_key=log_key,
        client_key=local.keys.client_key if local else None,
        miner_key=miner_key,
        admin_key=local.keys.admin_key if local else None,
        public_url=local.context.settings.public_url if local else None,
    )


def _ready(settings: Settings, content: AgentFile, *, quiet: bool = False) -> None:
    agent_file.write(settings, content)
    log.info("ready", url=content.url, miner_id=content.miner_id, data_dir=str(settings.data_dir))
    if not quiet:
        typer.echo(f"AITBC agent is ready at {content.url}")


def on_signals(callback: Callable[[], None]) -> None:
    """Call `callback` on every SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, callback)
