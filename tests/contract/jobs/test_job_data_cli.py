"""`aitbc jobs` and `aitbc artifacts` with a coordinator: labels and other filters, logs, jobs that run again, and deletion."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from aitbc.cli import app
from aitbc.cli._terminal.exits import explain
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import job, submit
from support.server import Served

Command = Callable[..., str]
RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}


@pytest.fixture
def run(served: Served) -> Callable[..., Result]:
    """Return a function that runs a command as the client."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["--base-url", served.url, "--api-key", served.client_key, *words])

    return run


@pytest.fixture
def aitbc(run: Callable[..., Result]) -> Command:
    """Return a function that runs a command and returns its standard output."""

    def succeed(*words: str) -> str:
        result = run(*words)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    return succeed


def completed(client: httpx.Client, miner: ScriptedMiner, *texts: str, **options: object) -> str:
    job_id = submit(client, **options)
    (lease,) = miner.poll()
    lines = [{"time": time.time(), "source": "stdout", "text": text} for text in texts]
    body = {**miner.result_body(lease, RESULTS), "log": {"entries": lines}}
    miner.http.post(f"/jobs/{job_id}/result", json=body).raise_for_status()
    return job_id


def test_lists_are_filtered_and_show_labels(
    aitbc: Command, client: httpx.Client, miner: ScriptedMiner
) -> None:
    done = completed(client, miner, labels={"project": "podcast", "episode": "12"})
    waiting = submit(client, labels={"project": "podcast"}, audio_url="https://example.com/b.mp3")
    submit(client)

    def listed(*options: str) -> list[str]:
        title, *rows = aitbc("jobs", "list", *options).splitlines()
        assert title.split("\t")[-1] == "LABELS"
        return [row.split("\t")[0] for row in rows]

    assert listed("--label", "project=podcast") == [waiting, done]
    assert listed("--label", "project=podcast", "--label", "episode=12") == [done]
    assert listed("--label", "project=podcast", "--name", "b.mp3") == [waiting]
    assert listed("--miner", miner.miner_id) == [done]
    assert listed("--offer", "offer_0123456789abcdefghijklmnop") == []
    assert "episode=12 project=podcast" in aitbc("jobs", "list", "--label", "episode=12")
    assert [line.split() for line in aitbc("jobs", "labels", "project").splitlines()][1:] == [
        ["project=podcast", "2"]
    ]


def test_show_names_the_parameters_labels_and_inputs(aitbc: Command, client: httpx.Client) -> None:
    job_id = submit(client, language="en", labels={"project": "podcast"})
    lines = dict(line.split(maxsplit=1) for line in aitbc("jobs", "show", job_id).splitlines() if " " in line)
    assert lines["labels"] == "project=podcast"
    assert "language=en" in lines["with"]
    assert lines["input"] == "a.mp3 (https://example.com/a.mp3)"


def test_the_log_is_printed(aitbc: Command, client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = completed(client, miner, "loading", "running")
    rows = [row.split("\t") for row in aitbc("jobs", "log", "last").splitlines()]
    assert [row[1:] for row in rows] == [["1", "stdout", "loading"], ["1", "stdout", "running"]]
    assert aitbc("jobs", "log", job_id, "--follow").splitlines() == ["\t".join(row) for row in rows]
    assert json.loads(aitbc("jobs", "log", job_id, "--json"))["entries"][1]["text"] == "running"


def test_a_log_is_followed_until_the_job_ends(
    run: Callable[..., Result], client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line is printed once, although the whole log arrives again with the result."""
    job_id = submit(client)
    (lease,) = miner.poll()
    lines = [
        {"time": time.time() + number, "source": "stdout", "text": f"line {number}"} for number in range(3)
    ]
    miner.job(lease, "events", events=[], log={"entries": lines[:1]}).raise_for_status()
    from aitbc.cli.commands import job_data  # noqa: PLC0415 - to change it

    printed = job_data._PrintedLog.add

    def then_go_on(shown: object, entries: list[object]) -> None:
        printed(shown, entries)  # type: ignore[arg-type]
        if len(entries) == 1:
            miner.job(lease, "events", events=[], log={"entries": lines[1:2]}).raise_for_status()
        elif len(entries) == 2:
            body = {**miner.result_body(lease, RESULTS), "log": {"entries": lines}}
            miner.http.post(f"/jobs/{job_id}/result", json=body).raise_for_status()

    monkeypatch.setattr(job_data._PrintedLog, "add", then_go_on)
    result = run("jobs", "log", job_id, "-f")
    assert [row.split("\t")[3] for row in result.stdout.splitlines()] == ["line 0", "line 1", "line 2"]


def test_an_empty_log_says_so(run: Callable[..., Result], client: httpx.Client) -> None:
    result = run("jobs", "log", submit(client))
    assert (result.stdout, result.stderr) == ("", "The job has written nothing.\n")


def test_a_job_runs_again_with_changes(
    aitbc: Command, run: Callable[..., Result], client: httpx.Client, tmp_path: Path
) -> None:
    first = submit(client, word_timestamps=True, language="en")
    (tmp_path / "other.wav").write_bytes(b"sound")
    changes = [
        "language=null",
        "word_timestamps=false",
        "initial_prompt=12 words",
        f"audio_url=@{tmp_path / 'other.wav'}",
    ]
    options = [word for change in changes for word in ("--set", change)]
    again = aitbc("jobs", "rerun", first, *options, "--label", "try=2", "--max-cost", "0.25").strip()
    found = job(client, again)
    assert found["name"] == "other.wav"
    assert found["labels"] == {"try": "2"}
    assert {
        name: found["parameters"].get(name) for name in ("language", "word_timestamps", "initial_prompt")
    } == {
        "language": None,
        "word_timestamps": None,
        "initial_prompt": "12 words",
    }
    wrong = run("jobs", "rerun", first, "--set", "language")
    assert (wrong.exit_code, "NAME=VALUE" in wrong.stderr) == (2, True)
    refused = run("jobs", "rerun", first, "--set", "colour=red")
    assert "colour" in explain(refused.exception)  # type: ignore[arg-type]


def test_the_commands_of_the_reference_work(
    aitbc: Command, client: httpx.Client, miner: ScriptedMiner
) -> None:
    """Those of docs/reference/cli.md about repeating and deleting jobs."""
    done = completed(
        client, miner, labels={"project": "podcast"}, audio_url="https://example.com/interview.mp3"
    )
    text = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text()
    block = text.partition("run by tests/contract/jobs/test_job_data_cli.py -->\n```console\n")[2]
    commands = [line.removeprefix("$ aitbc ").split() for line in block.partition("```")[0].splitlines()]
    assert done in aitbc(*commands[0])
    assert "podcast\t1" in aitbc(*commands[1])
    again = aitbc(*commands[2]).strip()
    assert job(client, again)["parameters"]["language"] == "de"
    client.delete(f"/v1/jobs/{again}/data")
    client.delete(f"/v1/jobs/{again}").raise_for_status()
    client.delete(f"/v1/jobs/{again}/data").raise_for_status()
    assert done in aitbc(*commands[3])


def test_jobs_and_files_are_deleted(
    aitbc: Command, run: Callable[..., Result], client: httpx.Client, miner: ScriptedMiner
) -> None:
    """What cannot be deleted is named, and does not prevent the rest."""
    done = completed(client, miner)
    waiting = submit(client)
    result = run("jobs", "rm", waiting, done)
    assert result.stdout.splitlines()[1].startswith(f"{done}\t")
    assert "is submitted" in explain(result.exception)  # type: ignore[arg-type]
    assert client.get("/v1/jobs").json()["total"] == 1
    stored = client.post("/v1/artifacts", content=b"x").json()["artifact_id"]
    assert json.loads(aitbc("artifacts", "rm", stored, "--json")) == {"deleted": [stored]}
