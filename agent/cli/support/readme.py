"""README.txt of a bundle: first what is wrong, so that the helper need not search, then what is inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.cli.support.workplace import Content, Workplace
from agent.core.values.quantities import gibibytes

MAX_ERRORS: Final = 15
_LEAST_FREE: Final = 2**30
_LEAST_SHARE: Final = 0.02
_BAD: Final = re.compile(
    r'"level": ?"(?:error|critical)"|\[(?:error|critical)\s*\]|^aitbc-agent: |Traceback|\bXid\b|Out of memory',
    re.MULTILINE,
)
_REPEATED: Final = re.compile(r"\d+")

_NO_FAULTS: Final = frozenset({"released", "cancelled", "dropped", "handed back"})
"""Outcomes of runs without a fault of the machine: their clients or owners ended them."""

ABOUT: Final = """\
NOTHING WAS SENT. This file is on your machine only. Look through it, and give it only to whom you trust.

Removed: secrets that this machine knows or that look like one; values of variables; addresses of the internet, mail addresses and names of users; prompts,
results, files and names of clients. Of engines' logs there are only the lines in which an engine speaks of itself, without what they quote. Of the
machines of others there are only numbers. Included: names of cards, models and services, ids of jobs and miners, private addresses, your machine's figures.
"""


def diagnostics(contents: Mapping[str, Content], workplace: Workplace) -> list[str]:
    """Return what is wrong with the machine, the worst first."""
    problems: list[str] = []
    for finder in (
        _of_settings(workplace),
        _of_disks(contents),
        _of_databases(contents),
        _of_agent(contents),
        _of_doctor(contents),
        _of_failures(contents),
    ):
        problems += finder
    return problems


def _of_settings(workplace: Workplace) -> Iterator[str]:
    if workplace.fault is not None:
        yield f"The settings cannot be used, so no agent starts: {workplace.fault} (All other parts show what holds with default settings.)"


def _of_disks(contents: Mapping[str, Content]) -> Iterator[str]:
    for use, disk in _mapping(contents, "machine.json").get("disks", {}).items():
        share = disk["free"] / disk["size"] if disk["size"] else 1.0
        if use in ("data", "models", "cache", "temporary files") and (
            disk["free"] < _LEAST_FREE or share < _LEAST_SHARE
        ):
            yield f"The disk for {use} ({disk['path']}) has {gibibytes(disk['free'])} free of {gibibytes(disk['size'])}."
        if use == "data" and disk["exists"] and not disk["writable"]:
            yield f"The data directory {disk['path']} cannot be written by this user ({disk['file system']}, {disk['options']})."


def _of_databases(contents: Mapping[str, Content]) -> Iterator[str]:
    for name, facts in _mapping(contents, "databases.json").items():
        if "DAMAGED" in str(facts["state"]):
            yield f"The database {name} is unusable: {facts['state']}. Restore a backup (aitbc-agent restore), or move it away."


def _of_agent(contents: Mapping[str, Content]) -> Iterator[str]:
    state = _mapping(contents, "state.json")
    if not state:
        return
    if not state["running"]:
        yield "No agent runs in this data directory."
        yield from _last_end(contents.get("logs/agent.log", ""))
        return
    if "miner" not in state:  # a coordinator alone
        return
    miner = state["miner"]
    if isinstance(miner, Mapping):
        yield from _of_miner(miner, state["coordinator"])
    else:
        yield f"The agent (process {state['process']}) runs, but its miner does not answer: {miner}"


def _last_end(log: Content) -> Iterator[str]:
    """Yield the error that has ended the last agent, if there was one."""
    try:
        entry = json.loads(str(log).rstrip().rpartition("\n")[2])
    except ValueError:
        return
    if entry.get("event") == "ended" and entry.get("error"):
        yield f"The last agent ended with an error at {entry['timestamp']}: {entry['error']}"


def _of_miner(miner: Mapping[str, Any], coordinator: str) -> Iterator[str]:
    sentences = {
        f"The coordinator refuses this miner: {miner.get('refusal')}": miner.get("refusal"),
        f"The miner is not connected to its coordinator ({coordinator}).": miner.get("connection")
        == "offline",
        f"The miner is paused: {miner.get('paused')}": miner.get("paused"),
        "The miner offers no service.": not miner.get("services"),
        f"The miner did not understand leases: {miner.get('malformed_leases')}": miner.get(
            "malformed_leases"
        ),
    }
    yield from (sentence for sentence, is_so in sentences.items() if is_so)
    for service, reasons in miner.get("unavailable", {}).items():
        yield f"The service {service} is unavailable: {' '.join(reasons)}"
    for service, reason in miner.get("paused_services", {}).items():
        yield f"The service {service} pauses: {reason}"
    for service, models in miner.get("unavailable_models", {}).items():
        # A model that is too large for the machine is no fault of it.
        reasons = [reason for reason in models.values() if "GiB" not in reason]
        for reason in dict.fromkeys(reasons):
            yield f"A model of {service} is unavailable: {reason}"


def _of_doctor(contents: Mapping[str, Content]) -> Iterator[str]:
    diagnostics = contents.get("doctor.json", [])
    for diagnostic in diagnostics if isinstance(diagnostics, list) else []:
        if diagnostic["severity"] != "ok":
            yield f"Doctor, {diagnostic['severity']} ({diagnostic['id']}): {diagnostic['message']} -> {diagnostic['remedy']}"


def _of_failures(contents: Mapping[str, Content]) -> Iterator[str]:
    for where, runs in _mapping(contents, "failures.json").items():
        if not isinstance(runs, list) or not runs:
            continue
        counted: dict[str, list[Mapping[str, Any]]] = {}
        for run in runs:
            if run["outcome"] in _NO_FAULTS:
                continue
            key = f"{run['service']}: {run.get('failure_code') or run['outcome']}"
            counted.setdefault(key, []).append(run)
        for key, same in sorted(counted.items(), key=lambda pair: -len(pair[1])):
            message = same[0].get("failure_message")
            yield f"Failed runs {where}: {len(same)} times {key}, last at {same[0]['ended_at']}{f': {message}' if message else ''}"


def newest_errors(contents: Mapping[str, Content]) -> list[str]:
    """Return the newest errors in the logs, each kind once, the newest last."""
    kinds: dict[str, str] = {}
    for name, content in contents.items():
        if not name.startswith("logs/") or not isinstance(content, str):
            continue
        for line in content.splitlines():
            if _BAD.search(line):
                kind = _REPEATED.sub("0", _event(line))
                kinds.pop(kind, None)
                kinds[kind] = f"{name}: {line.strip()[:400]}"
    return list(kinds.values())[-MAX_ERRORS:]


def _event(line: str) -> str:
    try:
        entry = json.loads(line[line.index("{") :])
        return f"{entry['event']} {entry.get('error', '')}"
    except (ValueError, LookupError, TypeError):
        return line[40:]


def _mapping(contents: Mapping[str, Content], name: str) -> Mapping[str, Any]:
    content = contents.get(name, {})
    return content if isinstance(content, Mapping) else {}


def text(wrong: list[str], errors: list[str], files: Mapping[str, str], missing: Mapping[str, str]) -> str:
    """Return README.txt."""
    lines = ["SUPPORT BUNDLE OF AN AITBC AGENT", "", "WHAT IS WRONG"]
    lines += [f"* {sentence}" for sentence in wrong] or ["* Nothing that this command can recognise."]
    lines += ["", "NEWEST ERRORS IN THE LOGS", *([f"* {line}" for line in errors] or ["* none"])]
    lines += [
        "",
        "WHAT IS MISSING",
        *([f"* {name}: {reason}" for name, reason in missing.items()] or ["* nothing"]),
    ]
    lines += ["", "WHAT IS INSIDE", *(f"  {name:<32} {meaning}" for name, meaning in files.items())]
    return "\n".join([*lines, "", ABOUT])
