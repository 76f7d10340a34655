"""Every coordinator of 0.2.0, this version and a made-up next one, with every miner and every client of these."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.core.versions import version_problem
from support.agents import Agent, environment_of_programs, running
from support.inputs.media import make_video
from support.versions.installed import ALL, Installed, installed

pytestmark = pytest.mark.acceptance

PROGRAMS = Path(__file__).parent / "versions"
LIMIT_SECONDS = 300
LEASE_SECONDS = 10
LONG_PROGRAM = f"""import time
def predict(input):
    print("working")
    time.sleep({1.5 * LEASE_SECONDS})
    return {{"answer": 42}}
"""
PAIRS = list(itertools.product(ALL, ALL))
"""Versions of a coordinator and a miner."""
WORKING = [
    (coordinator, miner) for coordinator, miner in PAIRS if version_problem(miner, coordinator) is None
]
REFUSED = [pair for pair in PAIRS if pair not in WORKING]


@dataclass(frozen=True)
class Pair:
    """A coordinator, with a miner that has joined it."""

    coordinator: Agent
    miner_version: str
    video: Path
    directory: Path


def coordinator_of(version: str, directory: Path) -> Agent:
    options = {
        "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
        "AITBC_COORDINATOR__LEASE_SECONDS": str(LEASE_SECONDS),
        "AITBC_COORDINATOR__HEARTBEAT_SECONDS": "1",
    }
    agent = Agent(directory / "coordinator", "coordinator", "--port", "0", **options)
    agent.program = installed(version).agent
    return agent


def miner_of(version: str, directory: Path, url: str) -> Agent:
    agent = Agent(directory / "miner", "start", "--coordinator", url)
    agent.program = installed(version).agent
    return agent


@pytest.fixture(scope="module", params=WORKING, ids=lambda pair: f"coordinator {pair[0]}, miner {pair[1]}")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("pair")
    video = make_video(directory / "video.mp4", seconds=1, size="64x48")
    with (
        running(coordinator := coordinator_of(request.param[0], directory)),
        running(miner_of(request.param[1], directory, coordinator.url)),
    ):
        yield Pair(coordinator, request.param[1], video, directory)


def python_program(client: Installed) -> list[str | Path]:
    return [client.python, PROGRAMS / "job.py"]


def javascript_program(client: Installed) -> list[str | Path]:
    return ["node", PROGRAMS / "job.mjs", client.javascript]


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("program", [python_program, javascript_program], ids=["Python", "JavaScript"])
def test_a_client_gets_a_verified_result(pair: Pair, version: str, program: object) -> None:
    """It uploads a file, follows the job and its events, downloads the result and verifies the receipt."""
    client = installed(version)
    command = python_program(client) if program is python_program else javascript_program(client)
    output = pair.directory / "output.mp4"
    output.unlink(missing_ok=True)
    done = subprocess.run(
        [*command, pair.coordinator.url, pair.coordinator.file["client_key"], pair.video, output],
        env=environment_of_programs(),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["state"], result["failures"]) == ("completed", [])
    assert {"job_update", "receipt_created"} <= set(result["events"])
    assert output.stat().st_size > 0


def test_a_job_that_takes_longer_than_its_lease_is_completed(pair: Pair) -> None:
    """The miner's heartbeats renew it, and what the program prints arrives. The miner is of the version that it ought to be."""
    program = pair.directory / "program.py"
    program.write_text(LONG_PROGRAM)
    with pair.coordinator.client() as client:
        job_id = client.services.run(program).job_id
        assert client.jobs.wait(job_id, timeout=LIMIT_SECONDS).status == "completed"
        assert client.jobs.get_results(job_id).results["answer"] == 42
        assert "working" in [entry.text for entry in client.jobs.log(job_id).entries]
    (miner,) = pair.coordinator.status()["coordinator"]["miners"]
    assert miner["agent_version"] == pair.miner_version


@pytest.mark.parametrize(("of_coordinator", "of_miner"), REFUSED)
def test_a_miner_that_is_too_new_waits_and_says_what_to_do(
    of_coordinator: str, of_miner: str, tmp_path: Path
) -> None:
    """It does not join, whichever SDK the jobs come from."""
    with running(coordinator := coordinator_of(of_coordinator, tmp_path)):
        miner = miner_of(of_miner, tmp_path, coordinator.url)
        with subprocess.Popen(
            [miner.program, *miner.options], env=environment_of_programs(), stderr=subprocess.DEVNULL
        ) as process:
            end = time.monotonic() + LIMIT_SECONDS
            while "does not work with" not in (shown := shown_status(miner)):
                assert process.poll() is None
                assert time.monotonic() < end, shown
                time.sleep(0.5)
            assert (
                f"The miner's version, {of_miner}, does not work with the coordinator's, {of_coordinator}"
                in shown
            )
            assert "Ask the coordinator's operator to update it" in shown
            assert coordinator.status()["coordinator"]["miners"] == []
            process.terminate()
            assert process.wait(LIMIT_SECONDS) == 0


def shown_status(agent: Agent) -> str:
    """What `aitbc-agent status` prints, on one line."""
    return " ".join(agent.cli("status", check=False).stdout.split())
