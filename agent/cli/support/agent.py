"""The parts of a bundle about the agent: its settings, its state now, its metrics, and what the doctor finds."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import structlog

from agent.cli import agent_file, local_api
from agent.cli.support.workplace import Content, Workplace
from agent.configuring.description import Setting, describe, written
from agent.core.errors import AgentError, ConfigurationError
from agent.core.values.quantities import format_time
from agent.miner.control import ask
from agent.miner.doctor import examine
from agent.miner.doctor._files import holder
from agent.miner.machine.capabilities import tools
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from aitbc.errors import AITBCError
from runners import registry, sandbox
from runners.sandbox import bubblewrap, landlock

REQUEST_SECONDS: Final = 10.0
_ERROR_LINES: Final = 60


def settings(workplace: Workplace) -> Content:
    """Return all settings with their origins, or what is wrong with them, and the lines of the file."""
    lines = []
    if workplace.reading is None:
        lines += ["THE SETTINGS CANNOT BE USED:", *(workplace.fault or "").splitlines()[:_ERROR_LINES]]
    else:
        origins = workplace.reading.origins
        given = [setting for setting in describe(Settings) if setting.key in origins]
        others = [setting for setting in describe(Settings) if setting.key not in origins]
        lines.append("# Settings that a file, a variable or an option has set")
        lines += [f"{_line(workplace.settings, setting)}    # {origins[setting.key]}" for setting in given]
        lines += ["", "# All others have their defaults"]
        lines += [_line(workplace.settings, setting) for setting in others]
    file = workplace.config or workplace.data_dir / "agent.toml"
    lines += ["", f"# The file {file}, without comments"]
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
        lines += [
            f"{number:>4}  {line}"
            for number, line in enumerate(text.splitlines(), 1)
            if not line.lstrip().startswith("#")
        ]
    except OSError as error:
        lines.append(f"cannot be read: {error.strerror}")
    return "\n".join(lines)


def _line(settings: Settings, setting: Setting) -> str:
    value = setting.value_in(settings)
    if value is None:
        return f"{setting.key} = (not set)"
    # Not even the host: of a price's address it says where somebody lives, and of a database it may be a secret.
    return f"{setting.key} = {'(set, and secret)' if setting.secret else written(value)}"


def doctor(workplace: Workplace) -> Content:
    """Return what the doctor finds, the worst first."""
    # Its own log lines would stand in the terminal, among those of this command.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    diagnostics = asyncio.run(examine(workplace.settings))
    ranks = ("fault", "warning", "ok")
    return [asdict(found) for found in sorted(diagnostics, key=lambda found: ranks.index(found.severity))]


def state(workplace: Workplace) -> Content:
    """Return whether an agent runs here, and how its parts are: connection, slots, cards, services, models, pauses."""
    process = holder(workplace.settings)
    report: dict[str, Any] = {
        "running": process is not None,
        "process": process,
        "coordinator": section_of(workplace.settings, MinerSettings).coordinator or "its own",
        "data directory": str(workplace.data_dir),
        "ready": workplace.settings.agent_file.exists() and process is not None,
    }
    if process is None or _only_coordinates(workplace):
        return report
    try:
        report["miner"] = asyncio.run(ask(workplace.data_dir, "status"))
    except AgentError as error:
        report["miner"] = f"does not answer: {error}"
        report["main thread"] = _waits(process)
    return report


def _only_coordinates(workplace: Workplace) -> bool:
    """Return whether the running agent has no miner, as `aitbc-agent coordinator`."""
    try:
        return agent_file.read(workplace.settings).miner_id is None
    except ConfigurationError:
        return False


def _waits(process: int) -> str:
    try:
        return f"{psutil.Process(process).status()}, in {Path(f'/proc/{process}/wchan').read_text(encoding='ascii')}"
    except (OSError, psutil.Error) as error:
        return f"unknown ({error})"


def coordinator(workplace: Workplace) -> Content:
    """Return the health of the coordinator that this agent runs, and its numbers. Of other people's machines, only how many there are."""
    try:
        agent = agent_file.read(workplace.settings)
    except ConfigurationError as error:
        return str(error)
    report: dict[str, Any] = {
        "started": format_time(workplace.settings.agent_file.stat().st_mtime),
        "url": agent.url,
    }
    try:
        report["health"] = httpx.get(
            f"{agent.url}/v1/health", timeout=REQUEST_SECONDS, trust_env=False
        ).json()
    except (httpx.HTTPError, ValueError) as error:
        report["health"] = f"no answer: {type(error).__name__} {error}"
    if agent.admin_key is None:
        return report
    try:
        with local_api.administrator(workplace.settings) as client:
            overview = client.admin.overview()
    except (AgentError, AITBCError) as error:
        report["overview"] = f"no answer: {error}"
        return report
    states = Counter(
        f"{'paused' if miner.paused else 'online' if miner.online else 'offline'}, version {miner.agent_version}"
        for miner in overview.miners
    )
    report["jobs"] = dict(overview.jobs)
    report["miners"] = dict(states)
    report["replicas"] = [str(replica) for replica in overview.replicas]
    return report


def metrics(workplace: Workplace) -> Content:
    """Return the metrics of coordinator and miner, as Prometheus reads them."""
    texts = []
    miner = section_of(workplace.settings, MinerSettings)
    addresses = {}
    try:
        agent = agent_file.read(workplace.settings)
        addresses["coordinator"] = (f"{agent.url}/metrics", agent.admin_key)
    except ConfigurationError as error:
        texts.append(f"# {error}")
    if miner.metrics_port:
        addresses["miner"] = (f"http://{miner.metrics_host}:{miner.metrics_port}/metrics", None)
    for name, (url, key) in addresses.items():
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            answer = httpx.get(url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False)
            texts.append(
                f"# {name}\n{answer.text}" if answer.is_success else f"# {name}: answer {answer.status_code}"
            )
        except httpx.HTTPError as error:
            texts.append(f"# {name}: no answer ({type(error).__name__})")
    return "\n".join(texts)


def sandbox_facts(workplace: Workplace) -> Content:
    """Return which isolation works here, why others do not, and which services can therefore be offered."""
    chosen = tools(workplace.settings)
    return {
        "setting": chosen.sandbox,
        "isolation": sandbox.level(chosen) or "none works",
        "reason": sandbox.unavailable(chosen) or "it works",
        "bubblewrap": bubblewrap.unavailable(chosen.bubblewrap) or "works",
        "landlock": landlock.unavailable() or "works",
        "user": os.getuid(),
        "broken services": dict(registry.broken()),
        "installed services": sorted(registry.installed()),
        "checked_at": format_time(time.time()),
    }
