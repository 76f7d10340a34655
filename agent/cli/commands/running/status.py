"""`aitbc-agent status`: the state of the running agent, and why it has free capacity."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from rich.text import Text

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.cli.terminal import model_choice
from agent.cli.terminal.activity import counted, malformed, silence
from agent.cli.terminal.energy import print_energy
from agent.cli.terminal.outlook import in_one_line
from agent.core.values.durations import format_duration
from agent.core.values.quantities import GIBIBYTE, gibibytes
from agent.miner.control import ControlUnavailable, ask
from agent.miner.executor.placement import TOO_LARGE
from agent.settings import Settings
from agent.updates.starting import versions_of
from agent.updates.states import describe
from aitbc.answers.miners import Overview
from aitbc.cli._terminal.output import SafeConsole, moment, print_rows
from aitbc.figures import amounts

LEAST_SHARE = 0.005
"""Smaller shares of the last hour are not shown."""
SHOWN_EVENTS = 5
"""Number of recent model scheduling decisions to show; `--json` shows all of them."""
SHOWN_MODELS = 3
"""Number of models that are too large to name; `--json` has all of them."""


def status(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the running agent's connection, GPUs and jobs, and why services are unavailable.

    Examples:
      aitbc-agent status
      aitbc-agent status --json
    """
    settings = settings_from(data_dir, config)
    agent_status = _shown(settings)
    # Read here, since a coordinator alone has no status of its own.
    versions = versions_of(settings)
    state = versions.read()
    agent_status["update"] = {**state.to_json(), "line": describe(state, versions.current)}
    if as_json:
        print_json(agent_status)
    else:
        _print(agent_status)


def _shown(settings: Settings) -> dict[str, Any]:
    try:
        agent = agent_file.read(settings)
    except agent_file.StillStarting as starting:
        # The coordinator may be unreachable, or refuse the miner.
        with suppress(ControlUnavailable):
            return {"miner": asyncio.run(ask(settings.data_dir, "status"))}
        raise starting from None
    agent_status: dict[str, Any] = {"url": agent.url, "pid": agent.pid}
    if agent.miner_id is not None:
        agent_status["miner"] = asyncio.run(ask(settings.data_dir, "status"))
    if agent.admin_key is not None:
        with local_api.administrator(settings) as client:
            agent_status["coordinator"] = client.admin.overview()
    return agent_status


def _print(agent_status: dict[str, Any]) -> None:
    console = SafeConsole(highlight=True)
    if "url" in agent_status:
        console.print(
            Text.assemble(("Agent", "bold"), f" {agent_status['url']} (process {agent_status['pid']})")
        )
    if (update := agent_status.get("update")) and update["line"]:
        console.print(Text(f"  update: {update['line']}"))
    if "miner" in agent_status:
        _print_miner(console, agent_status["miner"])
    if "coordinator" in agent_status:
        _print_coordinator(console, agent_status["coordinator"])


def _warn(console: SafeConsole, subject: str, reason: str) -> None:
    console.print(Text.assemble("  ", (subject, "yellow"), f" {reason}"))


def _print_services(console: SafeConsole, miner: dict[str, Any]) -> None:
    """Print why services are not offered, not on all cards, or pause."""
    for service, reasons in miner["unavailable"].items():
        _warn(console, f"{service} is unavailable:", " ".join(reasons))
    # An older agent may still run, which does not report them.
    for service, reasons in miner.get("engine_obstacles", {}).items():
        if service in miner["services"]:
            _warn(console, f"{service}:", " ".join(reasons))
    for service, reason in miner["paused_services"].items():
        _warn(console, f"{service} pauses:", reason)


def _print_prospects(console: SafeConsole, miner: dict[str, Any]) -> None:
    if (choice := miner.get("model_choice")) is not None:
        console.print(f"  {model_choice.in_one_line(choice)}")
    if (outlook := miner.get("outlook")) is not None:
        console.print(f"  {in_one_line(outlook, miner.get('energy'))}")


def _print_miner(console: SafeConsole, miner: dict[str, Any]) -> None:
    _print_connection(console, miner)
    if (earned := miner["earned_today"]) is not None:
        jobs = counted(earned["jobs"], "job")
        console.print(f"  earned today (UTC): {amounts.in_credits(earned['amount'])} from {jobs}")
    # An agent that still runs with 0.2.0 knows nothing of these.
    _print_prospects(console, miner)
    if (energy := miner.get("energy")) is not None:
        print_energy(console, energy)
    slots = miner["slots"]
    console.print(f"  slots: {slots['free']} of {slots['total']} free; unsent results: {miner['outbox']}")
    for gpu in miner["gpus"]:
        console.print(f"  GPU {gpu['number']}: {gpu['name']}, {', '.join(_figures(gpu))}")
        if gpu["paused"]:
            _warn(console, "  paused:", gpu["paused"])
    for problem in miner.get("power_limits", {}).get("problems", {}).values():
        _warn(console, "power limit:", problem)
    if not miner["gpus"]:
        console.print(f"  no GPU: {miner['gpu_reason']}")
    _print_selftest(console, miner.get("selftest"))
    _print_nodes(console, miner["placement"].get("nodes", ()))
    console.print(f"  sandbox: {miner['sandbox'] or 'none works; see `aitbc-agent doctor`'}")
    console.print(f"  services: {', '.join(miner['services']) or 'none'}")
    _print_services(console, miner)
    _print_models(console, miner)
    for lease in miner["leases"]:
        device = f" on {lease['device']}" if lease["device"] else ""
        console.print(
            f"  {lease['stage']}{device}: {lease['job_id']} ({lease['service']}), {lease['progress']:.0f} %"
        )
    for download in miner["downloads"]:
        total = "" if download["total"] is None else f" of {download['total'] / GIBIBYTE:.2f}"
        console.print(f"  downloading {download['model']}: {download['done'] / GIBIBYTE:.2f}{total} GiB")
    shares = ", ".join(
        f"{use['reason']} {use['share']:.0%}" for use in miner["idle"] if use["share"] >= LEAST_SHARE
    )
    console.print(f"  last hour: {shares}")


def _print_connection(console: SafeConsole, miner: dict[str, Any]) -> None:
    """Print whether the miner is connected and accepts jobs, and why not."""
    uptime = format_duration(time.time() - miner["started_at"])
    console.print(
        Text.assemble(
            ("Miner", "bold"),
            f" {miner['miner_id']}, {_connection(miner)}, session {miner['session'] or 'none'}, up {uptime}",
        )
    )
    if miner["refusal"]:
        _warn(console, "refused:", miner["refusal"])
    if advice := miner.get("version_advice"):
        _warn(console, "version:", advice)
    if miner["malformed_leases"]:
        console.print(Text(f"  {malformed(miner['malformed_leases'])}", "yellow"))
    if miner["paused"]:
        _warn(console, "paused:", miner["paused"])


def _connection(miner: dict[str, Any]) -> str:
    if miner["silent_since"] is None:
        return str(miner["connection"])
    return f"offline: {miner['coordinator']} {silence(miner['silent_since'])}"


def _print_selftest(console: SafeConsole, selftest: dict[str, Any] | None) -> None:
    """Print the result of the latest self-test, None if there was none."""
    if selftest is None:
        console.print("  self-test: none yet; see `aitbc-agent selftest`")
        return
    age = format_duration(max(0.0, time.time() - selftest["began_at"]))
    if selftest["verdict"] == "passed":
        console.print(f"  self-test: passed {age} ago")
    else:
        _warn(console, f"self-test: failed {age} ago:", " ".join(selftest["problems"]))


def _print_nodes(console: SafeConsole, nodes: Sequence[dict[str, Any]]) -> None:
    """Print the nodes of a Ray cluster."""
    for node in nodes:
        if node["reason"] is not None:
            _warn(console, f"node {node['node']} is not used:", node["reason"])
        else:
            console.print(f"  node {node['node']}: {_node(node)}")


def _node(node: dict[str, Any]) -> str:
    free = node["free"]
    return f"{node['gpus']} GPUs; free: {free['CPU']:g} CPU, {free['GPU']:g} GPU, {gibibytes(free['memory'])} of memory"


def _figures(gpu: dict[str, Any]) -> Iterator[str]:
    yield f"{gpu['memory_free'] / GIBIBYTE:.1f} of {gpu['memory_total'] / GIBIBYTE:.1f} GiB free"
    if gpu["temperature"] is not None:
        yield f"{gpu['temperature']} °C"
    if gpu["power"] is not None:
        limit = f" of {gpu['power_limit']:.0f}" if gpu["power_limit"] else ""
        yield f"{gpu['power']:.0f}{limit} W"
    if gpu["utilization"] is not None:
        yield f"{gpu['utilization']} % busy"


def _print_models(console: SafeConsole, miner: dict[str, Any]) -> None:
    """Print the loaded and the unavailable models, the jobs that wait for memory, and recent scheduling decisions."""
    too_large = []
    for service, reasons in miner["unavailable_models"].items():
        for model, reason in reasons.items():
            if TOO_LARGE in reason:
                too_large.append(model)
            else:
                _warn(console, f"{model} is unavailable", f"({service}): {reason}")
    if too_large:
        further = f" and {len(too_large) - SHOWN_MODELS} more" if len(too_large) > SHOWN_MODELS else ""
        console.print(f"  too large for this machine: {', '.join(too_large[:SHOWN_MODELS])}{further}")
    for child in miner["children"]:
        if child["model"] is not None:
            memory_words = f", uses {gibibytes(child['held'])}" if child["held"] else ""
            saving = ", in memory-saving mode" if child["limited"] else ""
            console.print(f"  {child['state']}: {child['model']} on {child['device']}{memory_words}{saving}")
    for job in miner["placement"]["waiting"]:
        _warn(console, "waiting for memory", f"({job['service']}): {job['reason']}")
    for entry in miner["placement"]["recent"][-SHOWN_EVENTS:]:
        moment = time.strftime("%H:%M:%S", time.localtime(entry["at"]))
        model = entry["model"] or entry["service"]
        console.print(f"  {moment} {entry['event']} {model}: {entry['reason']}")


def _print_coordinator(console: SafeConsole, overview: Overview) -> None:
    jobs = ", ".join(f"{count} {state}" for state, count in sorted(overview.jobs.items()))
    console.print(Text.assemble(("Coordinator", "bold"), f" jobs: {jobs or 'none'}"))
    for replica in overview.replicas if len(overview.replicas) > 1 else ():
        leads = ", leads" if replica.leads else ""
        console.print(
            f"  replica {replica.slot} on {replica.host}: version {replica.version}, since {moment(replica.joined_at)}{leads}"
        )
    rows = []
    for miner in overview.miners:
        state = "paused" if miner.paused else "online" if miner.online else "offline"
        if miner.version_problem:
            state = "refused"
        version = miner.agent_version or "unknown"
        rows.append((miner.miner_id, miner.name, state, version, ", ".join(miner.services)))
    print_rows(("MINER", "NAME", "STATE", "VERSION", "SERVICES"), rows, free=("NAME",))
