"""`scripts/gpu_check.py`: its output without a card, and the checks that can run without one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from nvml_shim.shim import GPU_IS_LOST, TWO_CARDS, NvmlShim, Slice, build

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu_check.py"
LINE = re.compile(r"(.{32}) (ok|failed|not checked) +(?:[\d.]+ s)? +(.+)")


def run(
    *arguments: str,
    environment: dict[str, str] | None = None,
    python: str = sys.executable,
    limit: float = 120,
) -> tuple[int, list[tuple[str, ...]]]:
    """Run the script. Returns the exit status, and name, status and detail of each line."""
    done = subprocess.run(
        [python, str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=limit, check=False
    )  # fmt: skip
    assert done.stderr == ""
    _devices, *lines, summary = done.stdout.splitlines()
    assert re.fullmatch(r"\d+ ok, \d+ failed, \d+ not checked", summary)
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), done.stdout
    return done.returncode, [tuple(part.strip() for part in line.groups()) for line in found if line]


@pytest.fixture
def no_cards() -> dict[str, str]:
    """An environment without visible cards on any machine."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def nvml(tmp_path: Path) -> NvmlShim:
    return NvmlShim(build(tmp_path / "nvml"), tmp_path / "state")


def test_without_a_card_every_line_states_that_it_is_missing(
    no_cards: dict[str, str], tmp_path: Path
) -> None:
    table = tmp_path / "table.json"
    status, lines = run("--json", str(table), "--seconds", "60", environment=no_cards)
    assert status == 0
    assert len(lines) > 15
    for name, outcome, detail in lines:
        if name == "signatures beside it":
            assert outcome == "ok"
        else:
            assert (outcome, detail.partition(";")[0]) == ("not checked", "no card")
    assert [line["name"] for line in json.loads(table.read_text())] == [name for name, *_ in lines]


def test_the_documentation_lists_each_check(no_cards: dict[str, str]) -> None:
    documented = re.findall(
        r"`([^`]+)`",
        "".join(re.findall(r"^\| (`.*?) \|", (ROOT / "docs/how-to/gpu.md").read_text(), re.MULTILINE)),
    )
    assert documented == [name for name, *_ in run(environment=no_cards)[1]]


@pytest.mark.ship
def test_the_script_runs_from_a_checkout_that_is_not_installed(no_cards: dict[str, str]) -> None:
    """With a Python that has the dependencies but not the agent."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    bare = no_cards | {"PYTHONPATH": os.pathsep.join(packages)}
    python = f"{sysconfig.get_config_var('installed_base')}/bin/python{sysconfig.get_python_version()}"
    assert run("--only", "nvml", environment=bare, python=python)[0] == 0
    status, lines = run("--rehearse", "--only", "torch in", environment=bare, python=python)
    assert (status, [line[:2] for line in lines]) == (0, [("torch in the sandbox", "ok")])


@pytest.mark.ship
def test_an_engine_is_checked_in_a_runners_child_process(no_cards: dict[str, str]) -> None:
    status, lines = run("--rehearse", "--only", "nvenc h264", environment=no_cards)
    assert (status, lines[0][:2]) == (0, ("nvenc h264", "ok"))
    assert lines[0][2].endswith(" fps at 720p")


@pytest.mark.ship
def test_a_model_is_created_once_for_llama_cpp(no_cards: dict[str, str], tmp_path: Path) -> None:
    """Here on the processor."""
    words = ("--rehearse", "--only", "llama.cpp", "--require", "llama.cpp", "--models", str(tmp_path))
    status, lines = run(*words, environment=no_cards)
    assert (status, lines[0][:2]) == (0, ("llama.cpp", "ok"))
    assert re.search(r"untrained-gguf: .* \d+ token/s with 8 at once", lines[0][2])
    model = tmp_path / "untrained-gguf" / "model.gguf"
    created = model.stat()
    assert run(*words, environment=no_cards)[0] == 0
    assert (model.stat().st_ino, model.stat().st_mtime_ns) == (created.st_ino, created.st_mtime_ns)
    assert [path.name for path in tmp_path.iterdir()] == ["untrained-gguf"]


def test_mig_instances_are_described_without_their_utilisation(nvml: NvmlShim) -> None:
    nvml.privileged = False
    nvml.change(0, mig=1, instances=(Slice("MIG-33333333-aaaa-5aaa-8aaa-000000000001"),))
    status, lines = run("--only", "nvml", environment=dict(nvml.environment))
    assert (status, {outcome for _, outcome, _ in lines}) == (0, {"ok"})
    assert "5.0 GiB free, 41 C, 60 W, 450 W at most (does not report utilization)" in lines[1][2]


def test_cards_are_described_also_if_one_reports_little(nvml: NvmlShim) -> None:
    """With a stand-in for NVIDIA's library. Laptops and virtual cards report neither power nor temperature."""
    nvml.change(1, temperature=None, power=None, power_limit=None, utilization=None)
    status, lines = run("--only", "nvml", environment=dict(nvml.environment))
    assert (status, [line[1] for line in lines]) == (0, ["ok", "ok"])
    assert lines[0][2].count(TWO_CARDS[0].name) == 2
    assert "41 C, 60 W" in lines[1][2]
    assert lines[1][2].endswith("GiB free (does not report utilization, temperature, power, power_limit)")
    nvml.change(1, error=GPU_IS_LOST)
    status, lines = run("--only", "nvml inventory", environment=dict(nvml.environment))
    assert (status, lines[0][1]) == (1, "failed")
    assert "fallen off the bus" in lines[0][2]


@pytest.mark.gpu
@pytest.mark.timeout(1300)
def test_all_checks_pass_on_this_machines_card() -> None:
    status, lines = run(limit=1200)
    if any(name == "nvml inventory" and outcome == "not checked" for name, outcome, _ in lines):
        pytest.skip("there is no NVIDIA GPU")
    assert status == 0, [line for line in lines if line[1] == "failed"]


def test_a_bare_checkout_has_a_table_too(tmp_path: Path) -> None:
    """Without any installed package. The script names those that are missing, instead of failing at its imports."""
    bare = ("-S", "-E", str(SCRIPT))

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *bare, *arguments], capture_output=True, text=True, timeout=300, check=False
        )

    done = start()
    assert (done.returncode, done.stderr) == (0, "")
    torch, rest, summary = done.stdout.splitlines()
    assert re.fullmatch(r"torch {28}not checked +torch is not installed", torch)
    assert "pip install nvidia-ml-py pynacl pydantic structlog" in rest
    assert summary == "0 ok, 0 failed, 2 not checked"
    assert start("--require", "torch", "--json", str(tmp_path / "table.json")).returncode == 1
    assert json.loads((tmp_path / "table.json").read_text())[0]["status"] == "not checked"


def test_a_required_check_must_be_performed(no_cards: dict[str, str]) -> None:
    assert run("--only", "signatures", "--require", "signatures", environment=no_cards)[0] == 0
    assert run("--only", "signatures", "--require", "nvenc", environment=no_cards)[0] == 1
    assert run("--only", "nvml inventory", "--require", "nvml", environment=no_cards)[0] == 1
