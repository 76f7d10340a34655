"""Both distributions as wheels: their content, and their use without the rest of the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from support.agents import READY

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[4]
VERSION = version("aitbc-agent")
BUILD_SECONDS = 150
START_SECONDS = 180


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the wheels in the standard way. Returns them by the name of their distribution."""
    directory = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            directory,
            ROOT / "sdk/python",
            ROOT,
            *sorted((ROOT / "extensions").iterdir()),
        ],
        check=True,
        timeout=BUILD_SECONDS,
    )
    return {wheel.name.partition("-")[0]: wheel for wheel in directory.iterdir()}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment with the wheels and this environment's dependencies, whose metadata name the extensions."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=300)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            *wheels.values(),
        ],
        check=True,
        timeout=BUILD_SECONDS,
    )
    # After the wheels on the path, and without this environment's editable installation of the project.
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout.strip()
    Path(packages, "dependencies.pth").write_text(str(Path(httpx.__file__).parents[1]))
    return environment / "bin"


def run(program: Path, *arguments: str | Path) -> str:
    """Run a program outside the project and return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    done = subprocess.run(
        [program, *arguments],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_content_of_the_wheels(wheels: dict[str, Path]) -> None:
    """They contain the built dashboard and the shipped settings, but neither the dashboard's sources nor tests."""
    names = zipfile.ZipFile(wheels["aitbc_agent"]).namelist()
    web = [name for name in names if name.startswith("agent/coordinator/web/")]
    assert "agent/coordinator/web/dist/index.html" in web
    assert any(re.fullmatch(r"agent/coordinator/web/dist/assets/.*\.js", name) for name in web)
    assert [name for name in web if not name.startswith("agent/coordinator/web/dist/")] == []
    assert {"agent/configs/models.toml", "agent/configs/compose.yaml", "agent/py.typed"} <= set(names)
    assert "agent/configs/kubernetes/base/miner.yaml" in names
    assert "agent/coordinator/web/dist/.setup-stamp" not in names
    assert {name.partition("/")[0] for name in names} == {
        "agent",
        "runners",
        f"aitbc_agent-{VERSION}.dist-info",
    }
    for wheel in wheels.values():
        kinds = {part for name in zipfile.ZipFile(wheel).namelist() for part in Path(name).parts[:-1]}
        assert not kinds & {"tests", "node_modules", "__pycache__"}


def test_the_installed_commands_work(installed: Path, tmp_path: Path) -> None:
    """They run from the wheels and not from the checkout."""
    where = run(
        installed / "python",
        "-c",
        "import agent, aitbc, runners; print(agent.__file__, aitbc.__file__, runners.__file__)",
    )
    assert len(re.findall(re.escape(str(installed.parent)), where)) == 3
    assert run(installed / "aitbc-agent", "--version") == f"aitbc-agent {VERSION}\n"
    assert "data_dir" in run(installed / "aitbc-agent", "config", "show", "--data-dir", tmp_path)
    assert "tiny.en" in run(installed / "aitbc-agent", "models", "list", "--data-dir", tmp_path)
    assert "transcode" in run(installed / "aitbc", "--help")


@pytest.fixture
def coordinator(installed: Path, tmp_path: Path) -> Iterator[str]:
    """Run a coordinator from the wheels. Yields its URL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    with subprocess.Popen(
        [installed / "aitbc-agent", "coordinator", "--port", "0", "--data-dir", tmp_path / "data"],
        cwd="/",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith(READY)
            yield line.removeprefix(READY).strip()
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def test_an_installed_coordinator_serves_the_dashboard(coordinator: str) -> None:
    """It serves the page and the script in it."""
    page = httpx.get(f"{coordinator}/dashboard/", timeout=120)
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    script = re.search(r'src="([^"]+\.js)"', page.text)
    assert script is not None
    assert httpx.get(httpx.URL(f"{coordinator}/dashboard/").join(script[1]), timeout=120).status_code == 200
