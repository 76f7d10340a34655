"""Every coordinator of 0.2.0, this version and a made-up next one, with every miner and every client of these."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from agent.core.versions import version_problem
from runners.input_options import OPTIONS, needs_of, parameters_of
from runners.llm.request import InferenceRequest, needs
from support.agents import Agent, environment_of_programs, running
from support.inputs.media import make_video
from support.versions.installed import ALL, FORMER, Installed, installed

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


KINDS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uri"},
    {"type": "string", "pattern": "^[a-z]{2,5}$"},
    {"type": "string", "minLength": 1, "maxLength": 3},
    {"type": "integer", "minimum": 0, "maximum": 9},
    {"type": "number", "multipleOf": 0.5},
    {"not": {"type": "string"}},
    {"enum": ["a", "b"]},
]
"""Schemas of values, some of which cannot be enforced."""


def schema(random: Random, depth: int = 0) -> dict[str, Any]:
    """Return a schema of an object."""
    parts = {
        name: schema(random, depth + 1) if depth < 2 and random.random() < 0.3 else random.choice(KINDS)
        for name in random.sample(["a", "b", "format", "propertyNames"], 2)
    }
    more = [
        {},
        {},
        {},
        {"required": [*parts][:1]},
        {"propertyNames": {"type": "string"}},
        {"minProperties": 1},
    ]
    value = {"type": "object", "properties": parts, **random.choice(more)}
    return value if random.random() < 0.8 else {random.choice(["anyOf", "allOf"]): [value]}


def test_version_0_2_0_understands_the_requests_that_its_miners_may_get() -> None:
    """Those that use no options of later versions. It refuses most of the others."""
    random = Random(2026)  # noqa: S311 - no secret
    plain, others = [], []
    for _ in range(400):
        chosen = schema(random)
        tool = {"name": "look", "parameters": {"type": "object", "properties": {"part": chosen}}}
        choices = ["auto", "none", "required", {"name": "look"}]
        fields = (
            {"response_schema": chosen}
            if random.random() < 0.3
            else {"tools": [tool], "tool_choice": random.choice(choices)}
        )
        body = {"model": "smollm2-135m-instruct", "prompt": "Hello", **fields}
        try:
            request = InferenceRequest.model_validate_json(json.dumps(body))
        except ValidationError:
            continue
        parameters, options = parameters_of(request)
        needed = {name for name, _ in (*needs(parameters), *needs_of(options))}
        (others if OPTIONS in needed else plain).append(["llm_inference", parameters])
    assert min(len(plain), len(others)) > 50
    former = installed(FORMER)
    refused = subprocess.run(
        [former.python, PROGRAMS / "read_inputs.py"],
        input=json.dumps([*plain, *others]),
        env=environment_of_programs(),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
    )
    numbers = {int(number): reason for number, reason in json.loads(refused.stdout).items()}
    assert {number: reason for number, reason in numbers.items() if number < len(plain)} == {}
    assert len(numbers) > len(others) / 2
