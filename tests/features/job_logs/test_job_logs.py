"""The log of a job: what its runs wrote, for its account only, within limits that no miner exceeds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.job_logs import logs
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import followed, submit
from support.server import Served, serve

LIMIT = 4000
RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Run a coordinator with small limits."""
    limits = {"max_job_log": LIMIT, "max_job_log_runs": 2, "job_log_retention_seconds": 0.001}
    with serve(tmp_path / "data", open_enrolment=True, **limits) as served:
        yield served


def line(text: str, source: str = "stdout", moment: float | None = None) -> dict[str, Any]:
    return {"time": time.time() if moment is None else moment, "source": source, "text": text}


def report(miner: ScriptedMiner, lease: dict[str, Any], *lines: dict[str, Any]) -> httpx.Response:
    return miner.job(lease, "events", events=[], log={"entries": list(lines)})


def read(client: httpx.Client, job_id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/jobs/{job_id}/log")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def texts(log: dict[str, Any]) -> list[str]:
    return [entry["text"] for entry in log["entries"]]


def test_a_log_grows_while_the_job_runs_and_is_followed(client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = submit(client)
    assert read(client, job_id) == {"job_id": job_id, "entries": [], "truncated": False}
    (lease,) = miner.poll()
    with followed(client, job_id) as events:
        next(events)
        assert report(miner, lease, line("loading"), line("warning: odd", "ffmpeg")).status_code == 204
        assert report(miner, lease, line("running")).status_code == 204
        shown = [data for name, data in (next(events), next(events)) if name == "job_event"]
    assert shown == [{"job_id": job_id, "kind": "log", "lines": count} for count in (2, 1)]
    log = read(client, job_id)
    assert [(entry["attempt"], entry["source"], entry["text"]) for entry in log["entries"]] == [
        (1, "stdout", "loading"),
        (1, "ffmpeg", "warning: odd"),
        (1, "stdout", "running"),
    ]
    assert log["entries"][0]["time"].endswith("Z")


def test_the_whole_log_of_a_run_replaces_what_was_reported_before(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    """Reports may be lost, but the result is delivered. The receipt is that of a job without a log."""
    job_id = submit(client)
    (lease,) = miner.poll()
    report(miner, lease, line("second"))
    body = {**miner.result_body(lease, RESULTS), "log": {"entries": [line("first"), line("second")]}}
    miner.http.post(f"/jobs/{job_id}/result", json=body).raise_for_status()
    assert texts(read(client, job_id)) == ["first", "second"]
    receipt = client.get(f"/v1/receipts/{job_id}").json()
    assert client.post("/v1/receipts/verify", json={"receipt": receipt}).json()["valid"]
    assert "second" not in str(receipt)


def test_a_log_has_the_lines_of_every_attempt(client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = submit(client, max_attempts=3)
    for number in (1, 2):
        (lease,) = miner.poll()
        failure = {"kind": "retry" if number == 1 else "fail", "code": "OUT_OF_MEMORY", "message": "no"}
        miner.job(lease, "fail", **failure, log={"entries": [line(f"try {number}")]}).raise_for_status()
    entries = read(client, job_id)["entries"]
    assert [(entry["attempt"], entry["text"]) for entry in entries] == [(1, "try 1"), (2, "try 2")]


def test_only_the_newest_runs_are_stored(client: httpx.Client, miner: ScriptedMiner) -> None:
    """A miner that hands its job back again and again adds no more."""
    job_id = submit(client)
    for number in range(4):
        (lease,) = miner.poll()
        report(miner, lease, line(f"run {number}"))
        miner.job(lease, "release", reason="shutdown").raise_for_status()
    log = read(client, job_id)
    assert (texts(log), log["truncated"]) == (["run 2", "run 3"], True)


def test_a_miner_cannot_exceed_the_limit(client: httpx.Client, miner: ScriptedMiner) -> None:
    """While it runs, the beginning is stored; at the end, beginning and end."""
    job_id = submit(client)
    (lease,) = miner.poll()
    for number in range(5):
        report(miner, lease, *(line(f"{number} {part} " + "x" * 50) for part in range(20)))
    log = read(client, job_id)
    assert log["truncated"]
    assert texts(log)[0].startswith("0 0 ")
    assert sum(len(text) + 32 for text in texts(log)) <= LIMIT
    whole = [line(f"{number:04}") for number in range(1000)]
    body = {**miner.result_body(lease, RESULTS), "log": {"entries": whole}}
    miner.http.post(f"/jobs/{job_id}/result", json=body).raise_for_status()
    log = read(client, job_id)
    assert log["truncated"]
    assert (texts(log)[0], texts(log)[-1]) == ("0000", "0999")
    assert LIMIT * 0.9 < sum(len(text) + 32 for text in texts(log)) <= LIMIT


def test_lines_cannot_act_on_a_terminal_or_lie_about_the_time(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    report(
        miner, lease, line("\x1b[2J\x07red\tblue\x9b", "std\x1bout", moment=1.0), line("later", moment=4e9)
    )
    first, second = read(client, job_id)["entries"]
    assert (first["source"], first["text"]) == ("stdout", "[2Jred\tblue")
    assert lease["assigned_at"][:10] == first["time"][:10] == second["time"][:10]


@pytest.mark.parametrize("bad", [line("x" * 5000), line("a", "s" * 33), line("a", moment=float(2**50)), {}])
def test_malformed_lines_are_refused(client: httpx.Client, miner: ScriptedMiner, bad: dict[str, Any]) -> None:
    submit(client)
    (lease,) = miner.poll()
    assert report(miner, lease, bad).status_code == 422


def test_a_miner_writes_only_to_the_log_of_a_job_that_it_runs(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    other = ScriptedMiner(served.url)
    other.register()
    assert report(other, lease, line("mine")).status_code == 409
    client.delete(f"/v1/jobs/{job_id}")
    assert report(miner, lease, line("late")).status_code == 409
    assert read(client, job_id)["entries"] == []


def test_only_the_account_of_a_job_reads_its_log(
    client: httpx.Client, served: Served, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    path = f"/v1/jobs/{job_id}/log"
    assert admin.get(path).status_code == 403
    stranger = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    assert stranger.get(path).status_code == 404
    owner = httpx.Client(base_url=served.url, headers={"X-API-Key": miner.registration["api_key"]})
    assert owner.get(path).status_code == 403


def test_old_logs_are_deleted(client: httpx.Client, served: Served, miner: ScriptedMiner) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    report(miner, lease, line("old"))
    assert texts(read(client, job_id)) == ["old"]
    served.do(logs.delete_old)
    assert texts(read(client, job_id)) == []
