"""Each import contract detects a breach: one is planted in a copy of the packages, and exactly that contract breaks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")
MOST_FILES = 20
PACKAGES = ("agent", "runners", "sdk/python/aitbc")
VERDICT = re.compile(r"^(.+?) (KEPT|BROKEN)\b", re.MULTILINE)

# Contract, file that gets the breach, the breach.
BREACHES = [
    ("The SDK and the runners are independent", "runners/whisper/parts.py", "import aitbc.errors"),
    ("The SDK and the runners are independent", "aitbc/keys.py", "import runners.api"),
    ("The SDK and the runners do not know the agent", "runners/registry.py", "import agent.core.errors"),
    ("The SDK and the runners do not know the agent", "aitbc/keys.py", "import agent.core.errors"),
    ("The agent's layers", "agent/coordinator/feed/hub.py", "import agent.miner.backoff"),
    ("The agent's layers", "agent/miner/backoff.py", "import agent.coordinator.feed.hub"),
    ("The agent's layers", "agent/settings/__init__.py", "import agent.miner.tasks"),
    ("The agent's layers", "agent/miner/backoff.py", "import agent.cli.options"),
    ("The agent's layers", "agent/core/values/addresses.py", "import agent.miner.link.errors"),
    ("The miner's layers", "agent/miner/models/store.py", "import agent.miner.machine.gpus"),
    ("The miner's layers", "agent/miner/link/client.py", "import agent.miner.executor.local"),
    ("The miner's layers", "agent/miner/runs/run.py", "import agent.miner.status.report"),
    ("The coordinator's layers", "agent/coordinator/feed/hub.py", "import agent.coordinator.dispatch.port"),
    ("The coordinator's layers", "agent/coordinator/dispatch/dispatcher.py", "import agent.coordinator.operations.context"),
    ("The coordinator's layers", "agent/coordinator/errors.py", "import agent.coordinator.background"),
    ("The coordinator's layers", "agent/coordinator/operations/health.py", "import agent.coordinator.routes.health"),
    ("The coordinator's layers", "agent/coordinator/http/bodies.py", "import agent.coordinator.routes.health"),
    ("The use cases' layers", "agent/coordinator/operations/market/offers.py", "import agent.coordinator.operations.jobs.jobs"),
    ("The use cases' layers", "agent/coordinator/operations/miners/leases.py", "import agent.coordinator.operations.files.quota"),
    ("The store's layers", "agent/coordinator/store/schema/tables/jobs.py", "import agent.coordinator.store.prepared"),
    ("The dispatcher's layers", "agent/coordinator/dispatch/port.py", "import agent.coordinator.dispatch.claims"),
    ("The store's layers", "agent/coordinator/store/sqlite/database.py", "import agent.coordinator.store.prepared"),
    ("The engines only in the store's entry modules", "agent/coordinator/store/jobs.py", "import agent.coordinator.store.sqlite.database"),
    ("The engines only in the store's entry modules", "agent/coordinator/operations/health.py", "import agent.coordinator.store.sqlite.backup"),
    ("The agent's layers", "agent/protocol/messages.py", "import agent.settings"),
    ("Routes do not import each other", "agent/coordinator/routes/health.py", "import agent.coordinator.routes.jobs"),
    ("The layers of the command aitbc", "aitbc/cli/_arguments/lookup.py", "import aitbc.cli._terminal.output"),
    ("The layers of the command aitbc", "aitbc/cli/_terminal/display.py", "import aitbc.cli._batch.work"),
    ("The groups of commands of aitbc-agent are independent", "agent/cli/commands/machine/doctor.py", "import agent.cli.commands.operators.fsck"),
    ("The runners' layers", "runners/ffmpeg/plan.py", "import runners.whisper"),
    ("The runners' layers", "runners/blender/video.py", "import runners.whisper.parts"),
    ("The runners' layers", "runners/sandbox/watch.py", "import runners.registry"),
    ("The runners' layers", "runners/ffmpeg/process.py", "import runners.host.protocol"),
    ("The core is pure", "agent/core/jobs.py", "import time"),
    ("The core is pure", "agent/core/matching.py", "def late():\n    from os import environ"),
    ("SQL only in the store", "agent/coordinator/operations/health.py", "import sqlalchemy"),
    ("FastAPI and Starlette only in app, errors, http, openapi and routes", "agent/coordinator/operations/health.py", "from fastapi import Request"),
    ("NVML only in gpus", "agent/miner/machine/hardware.py", "import pynvml"),
    ("Ray only in the cluster's connection", "agent/miner/cluster/nodes.py", "import ray"),
    ("Processes are started only by runners, executor, engines and systemctl", "agent/miner/machine/hardware.py", "import subprocess"),
]  # fmt: skip


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages and their contracts."""
    copy = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, copy / Path(package).name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


@contextmanager
def planted(path: Path, breach: str) -> Iterator[None]:
    """Append the breach to the file, and restore the file at the end."""
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{breach}\n", encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def broken(directory: Path) -> set[str]:
    """Return the names of the contracts that are broken in the directory."""
    done = subprocess.run(
        [LINTER, "--cache-dir", directory / "cache", "--no-logo"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    verdicts = dict(VERDICT.findall(done.stdout))
    assert verdicts.keys() == {contract["name"] for contract in contracts()}, done.stdout + done.stderr
    names = {name for name, verdict in verdicts.items() if verdict == "BROKEN"}
    assert bool(names) == (done.returncode != 0)
    return names


def contracts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "tool"
    ]["importlinter"]["contracts"]
    return found


def test_the_packages_keep_every_contract(copied: Path) -> None:
    assert broken(copied) == set()


@pytest.mark.parametrize(("contract", "file", "breach"), BREACHES)
def test_a_breach_breaks_its_contract_and_no_other(
    copied: Path, contract: str, file: str, breach: str
) -> None:
    with planted(copied / file, breach):
        assert broken(copied) == {contract}


def test_every_contract_has_a_planted_breach() -> None:
    """A new contract counts only with a breach that it detects."""
    assert {contract["name"] for contract in contracts()} == {contract for contract, _, _ in BREACHES}


@pytest.mark.parametrize(
    ("contract", "exempt"),
    [
        ("NVML only in gpus", {"agent.miner.machine.gpus"}),
        ("Ray only in the cluster's connection", {"agent.miner.cluster.connection"}),
        (
            "Processes are started only by runners, executor, engines and systemctl",
            {"agent.miner.executor", "agent.miner.engines", "agent.cli.systemd.systemctl"},
        ),
    ],
)
def test_a_contract_with_one_exception_covers_every_other_module(contract: str, exempt: set[str]) -> None:
    """The contract lists the modules that it applies to, so a new module would be exempt unnoticed."""
    (rule,) = (rule for rule in contracts() if rule["name"] == contract)
    bound = set(rule["source_modules"])
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "agent").rglob("*.py")
    }
    modules = {module.removesuffix(".__init__") for module in modules} - {"agent", "agent.miner"}
    free = {
        module
        for module in modules
        if not any(module == known or module.startswith(f"{known}.") for known in bound | exempt)
    }
    assert free == set()


def test_no_folder_of_code_holds_more_than_twenty_files() -> None:
    """Except those with one noun or revision a file: tables, resources of the API, migrations."""
    store = "agent/coordinator/store"
    nouns = {store, f"{store}/schema/migrations/versions", "agent/coordinator/routes"}
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-co",
            "--exclude-standard",
            "agent",
            "runners",
            "sdk",
            "scripts",
            "benchmarks",
            "tests",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    code = (Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file())
    counts = Counter(
        path.parent.as_posix() for path in code if path.suffix in {"", ".py", ".ts", ".tsx", ".js"}
    )
    assert {
        folder: count for folder, count in counts.items() if count > MOST_FILES and folder not in nouns
    } == {}
