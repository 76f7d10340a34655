"""Checkpoints: files that a run stores before it ends and a later run receives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import followed
from support.jobs import submit as submit_transcription
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}


def submit(client: httpx.Client) -> str:
    """Submit a rendering; each of its checkpoints is a frame that the client can read immediately."""
    answer = client.post(
        "/v1/services/blender/render", json={"blend_file_url": "https://example.com/a.blend", "frames": "1-9"}
    )
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def part(miner: ScriptedMiner, number: int, content: bytes = b"{}", **changes: Any) -> dict[str, Any]:
    """Store a part of a transcript, a checkpoint that is no output, and return its description."""
    stored = miner.upload(content, "application/json")
    return {
        "artifact_id": stored["artifact_id"], "name": f"part_{number:04}.json", "media_type": "application/json",
        "size": stored["size"], "extra": {}, **changes,
    }  # fmt: skip


def frame(miner: ScriptedMiner, number: int, content: bytes = b"", **changes: Any) -> dict[str, Any]:
    """Store a frame and return its description."""
    stored = miner.upload(content or b"frame %d" % number, "image/png")
    return {
        "artifact_id": stored["artifact_id"],
        "name": f"frame_{number:04}.png",
        "media_type": "image/png",
        "size": stored["size"],
        "extra": {"frame": number},
        **changes,
    }


def report_outputs(miner: ScriptedMiner, lease: dict[str, Any], *outputs: dict[str, Any]) -> httpx.Response:
    return miner.job(lease, "events", events=[{"kind": "output", "data": output} for output in outputs])


def url(output: dict[str, Any]) -> str:
    return f"/v1/artifacts/{output['artifact_id']}"


@pytest.fixture
def other(served: Served) -> Iterator[ScriptedMiner]:
    miner = ScriptedMiner(served.url)
    miner.register()
    yield miner
    miner.http.close()


def test_only_the_client_can_read_an_output_while_the_job_runs(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    assert lease["checkpoints"] == []
    output = frame(miner, 7)
    assert client.get(url(output)).status_code == 404
    assert report_outputs(miner, lease, output).status_code == 204
    answer = client.get(url(output))
    assert (answer.content, answer.headers["content-type"]) == (b"frame 7", "image/png")
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "running"
    stranger = {"X-API-Key": served.other_key}
    assert httpx.get(f"{served.url}{url(output)}", headers=stranger).status_code == 404


def test_a_subscriber_receives_an_output_with_its_url(client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = submit(client)
    with Socket(miner) as socket, followed(client, job_id) as events:
        socket.slots(1)
        lease = socket.lease()
        output = frame(miner, 7)
        reported = [{"kind": "output", "data": output}, {"kind": "progress", "data": {"progress": 70}}]
        assert socket.call("events", job_id, {"fence": lease["fence"], "events": reported}) == (204, {})
        seen = next(data for kind, data in events if kind == "job_event")
    assert seen == {**output, "job_id": job_id, "kind": "output", "url": url(output)}


def test_a_later_subscriber_receives_the_outputs_so_far(client: httpx.Client, miner: ScriptedMiner) -> None:
    """It gets the newest output of each name, also after the job has ended."""
    job_id = submit(client)
    (lease,) = miner.poll()
    first, older, newer = frame(miner, 1), frame(miner, 2), frame(miner, 2, b"better")
    report_outputs(miner, lease, first, older)
    report_outputs(miner, lease, newer)
    expected = [
        {**output, "job_id": job_id, "kind": "output", "url": url(output)} for output in (first, newer)
    ]
    with followed(client, job_id) as events:
        assert [next(events)[0], next(events)[1], next(events)[1]] == ["job_update", *expected]
        miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No more.")
        assert [data["status"] for _, data in events] == ["failed"]
    with followed(client, job_id) as events:
        assert [data for kind, data in events if kind == "job_event"] == expected


@pytest.mark.parametrize("ending", ["retry", "release", "new session"])
def test_a_later_run_receives_the_checkpoints(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner, ending: str
) -> None:
    """It receives the newest checkpoint of each name and is the only other miner that may read them."""
    submit(client)
    (lease,) = miner.poll()
    first, second, newer = frame(miner, 1), frame(miner, 2), frame(miner, 2, b"better")
    assert report_outputs(miner, lease, first, second).status_code == 204
    assert report_outputs(miner, lease, newer).status_code == 204
    assert other.http.get(f"{other.url}{url(first)}").status_code == 404
    if ending == "retry":
        miner.job(lease, "fail", kind="retry", code="DISK_FULL", message="The disk is full.")
    elif ending == "release":
        miner.job(lease, "release", reason="shutdown")
    else:
        miner.register()
    (again,) = other.poll()
    assert again["checkpoints"] == [first, newer]
    assert other.http.get(f"{other.url}{url(newer)}").content == b"better"
    assert report_outputs(miner, lease, first).status_code == 409


def test_results_may_name_outputs_of_this_run_or_an_earlier_one(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner
) -> None:
    """The later miner need not store the received checkpoints again; the client can read all the files."""
    job_id = submit(client)
    (lease,) = miner.poll()
    first = frame(miner, 1)
    report_outputs(miner, lease, first)
    miner.job(lease, "fail", kind="retry", code="DISK_FULL", message="The disk is full.")
    (again,) = other.poll()
    second = frame(other, 2)
    report_outputs(other, again, second)
    files = [{**output, "url": url(output)} for output in (first, second)]
    assert other.complete(again, {**RESULTS, "files": files}).status_code == 200
    shown = client.get(f"/v1/jobs/{job_id}/results").json()["results"]["files"]
    assert [client.get(file["url"]).content for file in shown] == [b"frame 1", b"frame 2"]


def test_an_output_must_have_been_stored_by_the_miner_that_reports_it(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner
) -> None:
    """A missing file, another miner's file or a wrong size is refused, with all events of the call."""
    job_id = submit(client)
    (lease,) = miner.poll()
    submit(client)
    other.poll()
    good = frame(miner, 1)
    for wrong in (
        {**good, "artifact_id": f"sha256:{'1' * 64}"},
        frame(other, 3, b"secret"),
        {**good, "size": 1},
    ):
        progress = {"kind": "progress", "data": {"progress": 90}}
        reported = [
            {"kind": "output", "data": output} for output in (good, {**wrong, "name": "frame_0099.png"})
        ]
        answer = miner.job(lease, "events", events=[*reported, progress])
        assert answer.status_code == 422
        assert list(answer.json()["error"]["details"]["fields"]) == ["frame_0099.png"]
    assert client.get(url(good)).status_code == 404
    assert client.get(f"/v1/jobs/{job_id}").json()["progress"] == 0


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "a/b", "a\\b", "a\0b", "a\nb", "x" * 201])
def test_a_name_that_leaves_the_directory_is_refused(
    client: httpx.Client, miner: ScriptedMiner, name: str
) -> None:
    """Another miner would create a file of that name."""
    submit(client)
    (lease,) = miner.poll()
    answer = report_outputs(miner, lease, frame(miner, 1, name=name))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "extra", ['{"a": NaN}', '{"a": "\\ud800"}', '{"a": ' + "[" * 300 + "]" * 300 + "}", '{"a": 1e999}', "5"]
)
def test_data_that_could_not_be_sent_to_a_later_run_is_refused(
    client: httpx.Client, miner: ScriptedMiner, extra: str
) -> None:
    submit(client)
    (lease,) = miner.poll()
    output = json.dumps(frame(miner, 1, extra="EXTRA")).replace('"EXTRA"', extra)
    body = f'{{"fence": {lease["fence"]}, "events": [{{"kind": "output", "data": {output}}}]}}'
    answer = miner.http.post(
        f"/jobs/{lease['job_id']}/events", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


@pytest.mark.parametrize("limits", [{"max_checkpoints": 2}, {"max_checkpoint_bytes": 20}])
def test_the_number_and_size_of_a_jobs_checkpoints_are_limited(
    tmp_path: Path, limits: dict[str, int]
) -> None:
    """A checkpoint that replaces another of its name counts once."""
    with serve(tmp_path / "data", open_enrolment=True, **limits) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = ScriptedMiner(served.url)
        miner.register()
        submit(client)
        (lease,) = miner.poll()
        assert report_outputs(miner, lease, frame(miner, 1), frame(miner, 2)).status_code == 204
        assert report_outputs(miner, lease, frame(miner, 2, b"another")).status_code == 204
        third = frame(miner, 3)
        assert report_outputs(miner, lease, third).status_code == 422
        assert client.get(url(third)).status_code == 404


def test_a_service_without_checkpoints_accepts_no_early_outputs(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner
) -> None:
    """Otherwise one miner could put a file into the work of the next."""
    model = {
        "type": "python",
        "entrypoint": "model.py",
        "source": {"inline": "def predict(input): return {}"},
    }
    answer = client.post("/v1/jobs", json={"name": "x", "type": "ai-inference", "model": model})
    assert answer.status_code == 201, answer.text
    (lease,) = miner.poll()
    planted = frame(miner, 1)
    refused = report_outputs(miner, lease, planted)
    assert refused.status_code == 422
    assert refused.json()["error"]["message"].startswith("This service has no checkpoints.")
    assert client.get(url(planted)).status_code == 404
    miner.job(lease, "release", reason="shutdown")
    (again,) = other.poll()
    assert again["checkpoints"] == []


@pytest.mark.parametrize(
    "changes", [{"name": "video.mp4"}, {"name": "part_0001.json.exe"}, {"media_type": "text/html"}]
)
def test_only_files_that_the_service_declares_are_checkpoints(
    client: httpx.Client, miner: ScriptedMiner, other: ScriptedMiner, changes: dict[str, str]
) -> None:
    submit_transcription(client)
    (lease,) = miner.poll()
    refused = report_outputs(miner, lease, part(miner, 1, **changes))
    assert refused.status_code == 422, refused.text
    assert report_outputs(miner, lease, good := part(miner, 1)).status_code == 204
    miner.job(lease, "release", reason="shutdown")
    assert [again["checkpoints"] for again in other.poll()] == [[good]]


def test_a_checkpoint_that_is_no_output_is_announced_without_a_url(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    """The client learns that another miner could resume the work, but gets no access to the file."""
    job_id = submit_transcription(client)
    with Socket(miner) as socket, followed(client, job_id) as events:
        socket.slots(1)
        lease = socket.lease()
        body = {"fence": lease["fence"], "events": [{"kind": "output", "data": part(miner, 1)}]}
        assert socket.call("events", job_id, body) == (204, {})
        seen = next(data for kind, data in events if kind == "job_event")
    assert seen == {"name": "part_0001.json", "size": 2, "job_id": job_id, "kind": "checkpoint"}
    with followed(client, job_id) as events:
        miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No more.")
        assert [data["kind"] for kind, data in events if kind == "job_event"] == ["checkpoint"]


def test_checkpoints_remain_after_a_restart_of_the_coordinator(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = ScriptedMiner(served.url)
        miner.register()
        submit(client)
        (lease,) = miner.poll()
        output = frame(miner, 1)
        assert report_outputs(miner, lease, output).status_code == 204
    with serve(tmp_path / "data", open_enrolment=True) as served:
        other = ScriptedMiner(served.url, key=miner.key)
        other.register()
        assert [lease["checkpoints"] for lease in other.poll()] == [[output]]
