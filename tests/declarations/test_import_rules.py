"""Each import contract detects a breach, which is added to the imports of the packages."""

from __future__ import annotations

import copy
import subprocess
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from grimp import ImportGraph, build_graph
from importlinter import configuration
from importlinter.application.use_cases import _register_built_in_contract_types as register_types
from importlinter.application.use_cases import read_user_options
from importlinter.domain.contract import Contract, registry

ROOT = Path(__file__).parents[2]
MOST_FILES = 20
LINTER: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]
PACKAGES: tuple[str, ...] = tuple(LINTER["root_packages"])

# Contract, the module that gets a forbidden import, and what it imports. Extensions may be removed with a feature that they build on.
BREACHES = [
    ("No circles of imports", "agent.coordinator.features.labels.store", "agent.coordinator.features.labels.labels"),
    ("The SDK and the runners are independent", "runners.whisper.parts", "aitbc.errors"),
    ("The SDK and the runners are independent", "aitbc.keys", "runners.api"),
    ("The SDK and the runners do not know the agent", "runners.registry", "agent.core.errors"),
    ("The SDK and the runners do not know the agent", "aitbc.keys", "agent.core.errors"),
    ("The agent's layers", "agent.coordinator.feed.hub", "agent.miner.backoff"),
    ("The agent's layers", "agent.miner.backoff", "agent.coordinator.feed.hub"),
    ("The agent's layers", "agent.settings", "agent.miner.tasks"),
    ("The agent's layers", "agent.miner.backoff", "agent.cli.options"),
    ("The agent's layers", "agent.core.values.addresses", "agent.miner.link.refusals"),
    ("The miner's layers", "agent.miner.models.store", "agent.miner.machine.gpus"),
    ("The miner's layers", "agent.miner.link.client", "agent.miner.executor.local"),
    ("The miner's layers", "agent.miner.runs.run", "agent.miner.status.report"),
    ("The coordinator's layers", "agent.coordinator.feed.hub", "agent.coordinator.dispatch.dispatcher"),
    ("The coordinator's layers", "agent.coordinator.dispatch.dispatcher", "agent.coordinator.operations.context"),
    ("The coordinator's layers", "agent.coordinator.errors", "agent.coordinator.background"),
    ("The coordinator's layers", "agent.coordinator.operations.health", "agent.coordinator.routes.health"),
    ("The coordinator's layers", "agent.coordinator.http.bodies", "agent.coordinator.routes.health"),
    ("The coordinator's layers", "agent.coordinator.routes.health", "agent.coordinator.features.log.store"),
    ("Features are independent", "agent.coordinator.features.labels.store", "agent.coordinator.features.job_logs.logs"),
    ("The fields of features know no kernel", "agent.coordinator.features.labels.fields", "agent.coordinator.store.jobs"),
    ("Only the list of features names their declarations", "agent.coordinator.app", "agent.coordinator.features.log.feature"),
    ("The use cases' layers", "agent.coordinator.operations.files.quota", "agent.coordinator.operations.jobs.own_jobs"),
    ("The use cases' layers", "agent.coordinator.operations.miners.leases", "agent.coordinator.operations.files.quota"),
    ("The store's layers", "agent.coordinator.store.schema.tables.jobs_and_runs", "agent.coordinator.store.prepared"),
    ("The dispatcher's layers", "agent.coordinator.port", "agent.coordinator.dispatch.claims"),
    ("The store's layers", "agent.coordinator.store.sqlite.database", "agent.coordinator.store.prepared"),
    ("The engines only where a database is opened", "agent.coordinator.store.jobs", "agent.coordinator.store.sqlite.database"),
    ("The engines only where a database is opened", "agent.coordinator.operations.health", "agent.coordinator.store.sqlite.backup"),
    ("The agent's layers", "agent.protocol.messages", "agent.settings"),
    ("Routes do not import each other", "agent.coordinator.routes.health", "agent.coordinator.routes.jobs"),
    ("The layers of the command aitbc", "aitbc.cli._arguments.lookup", "aitbc.cli._terminal.output"),
    ("The layers of the command aitbc", "aitbc.cli._terminal.display", "aitbc.cli._batch.work"),
    ("The groups of commands of aitbc-agent are independent", "agent.cli.commands.machine.doctor", "agent.cli.commands.operators.enroll"),
    ("The runners' layers", "runners.ffmpeg.plan", "runners.whisper"),
    ("The runners' layers", "runners.blender.video", "runners.whisper.parts"),
    ("The runners' layers", "runners.sandbox.watch", "runners.registry"),
    ("The runners' layers", "runners.ffmpeg.process", "runners.host.protocol"),
    ("The core is pure", "agent.core.jobs", "time"),
    ("The core is pure", "agent.core.matching", "os"),
    ("SQL only in the store", "agent.coordinator.operations.health", "sqlalchemy"),
    ("FastAPI and Starlette only in app, errors, http and routes", "agent.coordinator.operations.health", "fastapi"),
    ("NVML only in gpus", "agent.miner.machine.hardware", "pynvml"),
    ("The trunk imports no extension", "agent.miner.build", "aitbc_ray.backend"),
    ("Extensions are independent", "aitbc_evm.adapter", "aitbc_lightning.node"),
    ("Extensions declare settings without the agent's", "aitbc_evm.settings", "agent.configuring.errors"),
    ("The ways to pay are the coordinator's", "aitbc_evm.node", "agent.miner.tasks"),
    ("The executor for Ray is the miner's", "aitbc_ray.nodes", "agent.coordinator.randomness"),
    ("Ray only in the cluster's connection", "aitbc_ray.nodes", "ray"),
    ("Processes are started only by runners, executor, engines and systemctl", "agent.miner.machine.hardware", "subprocess"),
]  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    """All imports of the packages."""
    # The cache of the linter may have the imports of an earlier version of a file.
    return build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


@cache
def rules() -> dict[str, Contract]:
    """Return the contracts of `pyproject.toml` by name, as the linter checks them."""
    configuration.configure()
    register_types()
    options = read_user_options(str(ROOT / "pyproject.toml"))
    return {
        settings["name"]: registry.get_contract_class(settings["type"])(
            settings["name"], options.session_options, settings
        )
        for settings in options.contracts_options
    }


def keeps(graph: ImportGraph, contract: str) -> bool:
    """Return whether these imports keep a contract. Checks change the graph that they get."""
    return rules()[contract].check(graph=copy.deepcopy(graph), verbose=False).kept


def test_the_packages_keep_every_contract(graph: ImportGraph) -> None:
    assert [contract for contract in rules() if not keeps(graph, contract)] == []


def test_a_breach_breaks_its_contract(graph: ImportGraph) -> None:
    for contract, importer, imported in BREACHES:
        if importer.partition(".")[0] not in PACKAGES:
            continue
        changed = copy.deepcopy(graph)
        assert importer in changed.modules, importer
        if imported not in changed.modules:
            changed.add_module(imported, is_squashed=True)
        changed.add_import(importer=importer, imported=imported)
        assert not keeps(changed, contract), (contract, importer, imported)


def test_every_contract_has_a_planted_breach() -> None:
    """A new contract counts only with a breach that it detects."""
    breached = {contract for contract, _, _ in BREACHES}
    assert {contract["name"] for contract in LINTER["contracts"]} <= breached


@pytest.mark.parametrize(
    ("contract", "exempt"),
    [
        ("NVML only in gpus", {"agent.miner.machine.gpus"}),
        ("Ray only in the cluster's connection", {"aitbc_ray.connection"}),
        (
            "Processes are started only by runners, executor, engines and systemctl",
            {"agent.miner.executor", "agent.miner.engines", "agent.cli.systemd.systemctl"},
        ),
    ],
)
def test_a_contract_with_one_exception_covers_every_other_module(contract: str, exempt: set[str]) -> None:
    """The contract lists the modules that it applies to, so a new module would be exempt unnoticed."""
    (rule,) = (rule for rule in LINTER["contracts"] if rule["name"] == contract)
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
            "extensions",
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
