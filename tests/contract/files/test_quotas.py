"""Attacks on the coordinator's disk: parallel uploads over a quota, miners that store without a lease, and a full disk."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.operations.files import removal
from support.clients.scripted_miner import ScriptedMiner
from support.features import is_installed
from support.jobs import submit
from support.server import Served, serve

MIB = 2**20
QUOTA = 3 * MIB
FILE = 2 * MIB
SLACK = MIB // 2
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}
LIMIT_SECONDS = 180

Send = Callable[[httpx.Client, int], httpx.Response]


def content(number: int) -> bytes:
    return bytes([number]) * FILE


def pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 256 * 1024):
        yield data[start : start + 256 * 1024]


def with_content_length(client: httpx.Client, number: int) -> httpx.Response:
    return client.post("/v1/artifacts", content=content(number))


def in_chunks(client: httpx.Client, number: int) -> httpx.Response:
    return client.post("/v1/artifacts", content=pieces(content(number)))


def resumable(client: httpx.Client, number: int) -> httpx.Response:
    begun = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(FILE)})
    if not begun.is_success:
        return begun
    return client.patch(begun.headers["location"], content=content(number), headers=PART)


def of_deferred_length(client: httpx.Client, number: int) -> httpx.Response:
    begun = client.post("/v1/uploads", headers={**TUS, "Upload-Defer-Length": "1"})
    return client.patch(begun.headers["location"], content=pieces(content(number)), headers=PART)


def form(client: httpx.Client, number: int) -> httpx.Response:
    return client.post(
        "/v1/audio/transcriptions",
        data={"model": "no such model"},
        files={"file": ("a.wav", content(number), "audio/wav")},
    )


def file_of_job(client: httpx.Client, number: int) -> httpx.Response:
    body = {
        "name": "n", "type": "ai-inference", "model": {"type": "python", "entrypoint": "model.py"},
        "output": {"type": "json"},
    }  # fmt: skip
    job_id = client.post("/v1/jobs", json=body).json()["job_id"]
    return client.put(f"/v1/jobs/{job_id}/files/model.py", content=content(number))


def on_disk(directory: Path) -> int:
    size = 0
    for path in (directory / "coordinator" / "artifacts").rglob(
        "[!i]*"
    ):  # not `installation.id`, which PostgreSQL's has
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return size


@contextmanager
def watched(directory: Path) -> Iterator[list[int]]:
    """Yield a list whose only item is the largest number of bytes in the directory so far."""
    most, stop = [0], threading.Event()

    def measure() -> None:
        while not stop.is_set():
            most[0] = max(most[0], on_disk(directory))

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "send",
    [
        with_content_length,
        in_chunks,
        pytest.param(resumable, marks=pytest.mark.needs("tus")),
        pytest.param(of_deferred_length, marks=pytest.mark.needs("tus")),
        pytest.param(form, marks=pytest.mark.needs("openai")),
        file_of_job,
    ],
)
def test_parallel_uploads_never_hold_more_than_the_quota(tmp_path: Path, send: Send) -> None:
    """Send eight at once of which each fits alone; the bytes and the quota of refused ones are freed immediately."""
    data = tmp_path / "data"
    with (
        serve(data, max_stored=QUOTA) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        with watched(data) as most:
            answers = list(pool.map(lambda number: send(client, number), range(1, 9)))
        accepted = [answer for answer in answers if answer.status_code != 413]
        assert len(accepted) == 1, [answer.status_code for answer in answers]
        for answer in answers:
            if answer not in accepted:
                assert answer.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"
        assert most[0] <= QUOTA + SLACK
        assert on_disk(data) <= FILE
        assert client.post("/v1/artifacts", content=bytes(MIB)).status_code == 201


def test_an_upload_that_breaks_off_frees_its_reserved_quota(tmp_path: Path) -> None:
    with serve(tmp_path / "data", max_stored=QUOTA) as served:
        key = {"X-API-Key": served.client_key}

        def broken() -> Iterator[bytes]:
            yield bytes(MIB)
            raise OSError("the connection breaks")

        for _ in range(3):
            with pytest.raises(OSError, match="breaks"):
                httpx.post(
                    f"{served.url}/v1/artifacts",
                    content=broken(),
                    headers={**key, "Content-Length": str(QUOTA)},
                )
        whole = {"content": bytes(QUOTA), "headers": key}
        answer = until(lambda: httpx.post(f"{served.url}/v1/artifacts", **whole), lambda it: it.is_success)
        assert answer.json()["size"] == QUOTA


def until(call: Callable[[], httpx.Response], accepted: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Return the first answer that is accepted, or fail after LIMIT_SECONDS."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not accepted(answer := call()):
        assert time.monotonic() < deadline, answer.text
    return answer


def test_a_job_cancelled_while_its_file_arrives_leaves_no_bytes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        serve(data) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as client,
    ):
        body = {
            "name": "n", "type": "ai-inference", "model": {"type": "python", "entrypoint": "model.py"},
            "output": {"type": "json"},
        }  # fmt: skip
        job_id = client.post("/v1/jobs", json=body).json()["job_id"]

        def cancelling() -> Iterator[bytes]:
            yield bytes(MIB)
            assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
            yield bytes(MIB)

        with httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}) as other:
            answer = other.put(f"/v1/jobs/{job_id}/files/model.py", content=cancelling())
        assert answer.status_code == 409
        assert on_disk(data) == 0


def test_a_miner_stores_only_for_a_job_whose_lease_it_holds(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    """It is refused without a job, for another miner's job, with a wrong fence and after the job ended."""
    address = f"{miner.url}/v1/artifacts"
    answer = miner.http.post(address, content=b"for no job")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
    submit(client)
    (lease,) = miner.poll()
    other = ScriptedMiner(served.url)
    other.register()
    for sender, wrong in (
        (other, lease),
        (miner, {**lease, "fence": lease["fence"] + 1}),
        (miner, {**lease, "job_id": "job_00000000000000000000000000"}),
    ):
        assert code(sender.store(b"stolen", lease=wrong)) == (409, "STALE_LEASE")
    assert miner.store(b"made", lease=lease).status_code == 201
    assert miner.complete(lease, RESULTS).status_code == 200
    assert code(miner.store(b"late", lease=lease)) == (409, "STALE_LEASE")
    other.http.close()


def test_a_miner_that_names_no_job_stores_for_its_running_jobs(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    """Miners of version 0.1 do so; two jobs may have the same file."""
    for _ in range(2):
        submit(client)
    leases = miner.poll(slots=2)
    stored = miner.http.post(f"{miner.url}/v1/artifacts", content=b"the same")
    assert stored.status_code == 201
    for lease in leases:
        assert miner.complete(lease, with_file(stored.json())).status_code == 200
    assert code(miner.http.post(f"{miner.url}/v1/artifacts", content=b"late")) == (422, "VALIDATION_ERROR")


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def with_file(stored: dict[str, Any], name: str = "a.txt") -> dict[str, Any]:
    url = f"/v1/artifacts/{stored['artifact_id']}"
    return {**RESULTS, "files": [{**stored, "name": name, "url": url}]}


def test_finished_work_is_delivered_after_the_miner_has_registered_again(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    """It holds the lease in its new session and may still store outputs."""
    job_id = submit(client)
    (lease,) = miner.poll()
    held = [{"job_id": lease["job_id"], "fence": lease["fence"]}]
    assert miner.register(holding=held).status_code == 200
    stored = miner.upload(b"finished before", "text/plain", lease)
    assert miner.complete(lease, with_file(stored)).status_code == 200
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"
    assert client.get(f"/v1/artifacts/{stored['artifact_id']}").content == b"finished before"


def test_outputs_are_limited_per_job_and_miner_and_count_toward_the_clients_quota(tmp_path: Path) -> None:
    """A refusal by the job's quota is final; after one by the miner's quota, the miner may retry when its other jobs have ended."""
    with (
        serve(
            tmp_path / "data",
            open_enrolment=True,
            max_job_outputs=1000,
            max_miner_outputs=1500,
            max_stored=1200,
        ) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as client,
    ):
        miner = ScriptedMiner(served.url)
        miner.register()
        submit(client)
        submit(client)
        first, second = miner.poll(slots=2)
        stored = miner.upload(bytes(800), "text/plain", first)
        assert code(miner.store(b"x" * 300, lease=first)) == (413, "PAYLOAD_TOO_LARGE")
        assert code(miner.store(pieces(b"x" * 300), lease=first)) == (413, "PAYLOAD_TOO_LARGE")
        refused = miner.store(b"y" * 800, lease=second)
        assert code(refused) == (507, "INSUFFICIENT_STORAGE")
        assert int(refused.headers["retry-after"]) > 0
        assert miner.complete(first, with_file(stored)).status_code == 200
        # The first job's outputs now belong to its client.
        assert miner.store(b"y" * 800, lease=second).status_code == 201
        assert code(client.post("/v1/artifacts", content=bytes(500))) == (413, "PAYLOAD_TOO_LARGE")
        assert client.post("/v1/artifacts", content=b"z" * 400).status_code == 201
        miner.http.close()


def test_files_that_a_run_stored_but_did_not_deliver_are_removed(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    """Checkpoints remain: the next run needs them, and they belong to the client when the job has ended."""
    scene = {"blend_file_url": "https://example.com/a.blend", "frames": "1-9"}
    job_id = client.post("/v1/services/blender/render", json=scene).json()["job_id"]
    (lease,) = miner.poll()
    junk, checkpoint = miner.upload(b"junk"), miner.upload(b"checkpoint", "image/png")
    output = {**checkpoint, "name": "frame_0001.png", "extra": {"frame": 1}}
    assert miner.job(lease, "events", events=[{"kind": "output", "data": output}]).status_code == 204
    served.do(removal.settle_run_outputs)
    assert blob(served, junk).exists()  # the run may still deliver it
    assert miner.job(lease, "release", reason="away").status_code == 200
    served.do(removal.settle_run_outputs)
    assert not blob(served, junk).exists()
    assert client.get(f"/v1/artifacts/{checkpoint['artifact_id']}").content == b"checkpoint"
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
    served.do(removal.settle_run_outputs)
    assert client.get(f"/v1/artifacts/{checkpoint['artifact_id']}").content == b"checkpoint"
    assert client.delete(f"/v1/artifacts/{checkpoint['artifact_id']}").status_code == 204
    assert not blob(served, checkpoint).exists()


def blob(served: Served, stored: dict[str, Any]) -> Path:
    digest = stored["artifact_id"].removeprefix("sha256:")
    directory: Path = served.context.files.blobs.root / digest[:2]
    return next(directory.glob(f"{digest[2:]}*"), directory / digest[2:])


def test_large_specifications_count_to_the_quota(tmp_path: Path) -> None:
    """Also those of ended jobs, until their data is deleted."""
    messages = [{"role": "user", "content": "word " * 20_000}] * 3
    question = {"messages": messages, "model": "smollm2-135m-instruct", "max_tokens": 1, "wait": True}

    with (
        serve(tmp_path / "data", max_stored=MIB) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as client,
    ):

        def ask() -> httpx.Response:
            return client.post("/v1/services/llm/inference", json=question)

        jobs = [ask().raise_for_status().json()["job_id"] for _ in range(3)]
        assert code(ask()) == (413, "PAYLOAD_TOO_LARGE")
        assert submit(client, wait=True), "others are as small as before"
        for job_id in jobs:
            assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
        assert code(ask()) == (413, "PAYLOAD_TOO_LARGE")
        assert client.delete(f"/v1/jobs/{jobs[0]}/data").is_success
        assert ask().status_code == 201
        assert code(ask()) == (413, "PAYLOAD_TOO_LARGE")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)


def test_a_full_disk_refuses_files_but_loses_no_job(small_disk: Path) -> None:
    """Uploads get 507 and health reports it, while jobs are submitted and completed; with free space, uploads work again."""
    with (
        serve(small_disk / "data", open_enrolment=True, storage_reserve=24 * MIB) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as client,
    ):
        miner = ScriptedMiner(served.url)
        miner.register()
        waiting = submit(client)
        (lease,) = miner.poll()
        assert client.get("/v1/health").json()["status"] == "ok"
        stored = []
        while (answer := client.post("/v1/artifacts", content=os.urandom(2 * MIB))).is_success:
            stored.append(answer.json()["artifact_id"])
        assert code(answer) == (507, "INSUFFICIENT_STORAGE")
        assert "nearly full" in answer.json()["error"]["message"]
        assert int(answer.headers["retry-after"]) > 0
        assert code(client.post("/v1/artifacts", content=pieces(os.urandom(4 * MIB)))) == (
            507, "INSUFFICIENT_STORAGE",
        )  # fmt: skip
        if is_installed("tus"):
            assert code(resumable(client, 1)) == (507, "INSUFFICIENT_STORAGE")
        assert code(miner.store(os.urandom(2 * MIB), lease=lease)) == (507, "INSUFFICIENT_STORAGE")
        # Another program uses up the reserve.
        (small_disk / "other").write_bytes(bytes(8 * MIB))
        health = client.get("/v1/health").json()
        assert (health["status"], health["services"]["storage"]) == ("degraded", "unhealthy")
        assert health["services"]["database"] == "healthy"
        question = {"prompt": "word " * 20_000, "model": "smollm2-135m-instruct", "max_tokens": 1}
        large = client.post("/v1/services/llm/inference", json=question)
        assert code(large) == (507, "INSUFFICIENT_STORAGE")
        assert "a job of this size" in large.json()["error"]["message"]
        jobs = [submit(client) for _ in range(20)]
        for claimed in miner.poll(slots=20):
            assert miner.complete(claimed, RESULTS).status_code == 200
        assert {client.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in jobs} <= {
            "completed",
            "submitted",
        }
        (small_disk / "other").unlink()
        for artifact_id in stored:
            assert client.delete(f"/v1/artifacts/{artifact_id}").status_code == 204
        assert client.get("/v1/health").json()["status"] == "ok"
        output = miner.upload(os.urandom(2 * MIB), "text/plain", lease)
        assert miner.complete(lease, with_file(output)).status_code == 200
        assert client.get(f"/v1/jobs/{waiting}").json()["status"] == "completed"
        miner.http.close()
