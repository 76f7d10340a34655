"""The runner of docs/tutorials/write-a-runner.md works as printed: installed, offered, paid, receipted, benchmarked."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aitbc.errors import JobFailed
from aitbc.receipts import verify_bundle
from support.agents import Agent, running

pytestmark = pytest.mark.acceptance

GUIDE = Path(__file__).parents[3] / "docs" / "tutorials" / "write-a-runner.md"
BLOCK = re.compile(r"^```(?:toml|python)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A file of the tutorial: its first line is a comment with its name."""

SERVICE = "image_thumbnails"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the tutorial's files, and return their directory."""
    directory = tmp_path_factory.mktemp("guide") / "aitbc-thumbnails"
    directory.mkdir()
    for name, content in BLOCK.findall(GUIDE.read_text(encoding="utf-8")):
        (directory / name).write_text(content, encoding="utf-8")
    assert {path.name for path in directory.iterdir()} == {
        "pyproject.toml",
        "aitbc_thumbnails.py",
        "test_thumbnails.py",
    }
    return directory


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package with pip, outside the environment, and return the directory."""
    target = tmp_path_factory.mktemp("installed")
    # pip downloads the build tools only if the environment lacks them.
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        *isolation,
        "--target",
        str(target),
    ]
    done = subprocess.run([*command, str(package)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def agent(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Run an agent that has the runner."""
    data_dir = tmp_path_factory.mktemp("agent") / "data"
    agent = Agent(data_dir, "start", "--port", "0", PYTHONPATH=str(installed))
    with running(agent):
        yield agent


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((1600, 1000)).save(path)
    return path


def request(agent: Agent, source: Path, **parameters: Any) -> Any:
    """Return the tutorial's job, completed."""
    client = agent.client()
    stored = client.artifacts.upload(source)
    parameters["image_url"] = f"artifact:{stored.artifact_id}"
    job = client.jobs.create({"name": "thumbnails", "type": SERVICE, "parameters": parameters})
    return client.jobs.wait(job.job_id, timeout=300)


def test_the_tutorials_tests_pass(package: Path, installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*command, str(package / "test_thumbnails.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_module_imports_without_its_engine(installed: Path) -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from runners.registry import installed\n"
        f"assert installed()['{SERVICE}'].definition.unit == 'input megapixel'\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        timeout=120,
    )


def test_a_job_is_completed_metered_and_receipted(agent: Agent, photo: Path, tmp_path: Path) -> None:
    """It is submitted by the SDK's generic call, as in the tutorial."""
    assert SERVICE in agent.status()["miner"]["services"]
    job = request(agent, photo, sides=[512, 128])
    client = agent.client()
    results = client.jobs.get_results(job.job_id).results
    assert [(image["name"], image["width"], image["height"]) for image in results["images"]] == [
        ("512.webp", 512, 320),
        ("128.webp", 128, 80),
    ]
    assert results["units"] == 1.6
    files = {}
    for image in results["images"]:
        path = files[image["artifact_id"]] = tmp_path / image["name"]
        client.artifacts.download(image["artifact_id"], to=path)
        with Image.open(path) as opened:
            assert opened.size == (image["width"], image["height"])
    bundle = client.receipts.export(job.job_id)
    verification = verify_bundle(bundle, agent.file["log_key"], files)
    assert verification.valid, verification.failures


def test_the_definitions_route_creates_jobs(agent: Agent, photo: Path) -> None:
    client = agent.client()
    stored = client.artifacts.upload(photo)
    done = client.services.call("thumbnails/make", {"image_url": f"artifact:{stored.artifact_id}"}, wait=50)
    assert done["results"]["images"][0]["name"] == "256.webp"


def test_an_input_that_is_not_an_image_fails_without_a_retry(agent: Agent, tmp_path: Path) -> None:
    source = tmp_path / "words.png"
    source.write_text("only words")
    with pytest.raises(JobFailed, match=r"send one of JPEG, PNG, WEBP, GIF"):
        request(agent, source)


def test_bench_reports_the_runners_speed(agent: Agent, installed: Path, tmp_path: Path) -> None:
    """In a separate data directory, because an agent uses the first."""
    measuring = Agent(tmp_path / "other", PYTHONPATH=str(installed))
    done = measuring.cli("bench", "--service", SERVICE, "--seconds", "0", "--json")
    (score,) = json.loads(done.stdout)["scores"]
    assert (score["metric"], score["unit"]) == ("megapixel/s", "input megapixel")
    assert score["speed"] > 1
    refused = agent.cli("bench", "--service", SERVICE, check=False)
    assert refused.returncode == 1
    assert f"process {agent.file['pid']}) uses" in refused.stderr
