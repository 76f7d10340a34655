"""`aitbc artifacts`: files are listed, found by a part of their id, uploaded once and downloaded without overwriting any."""

from __future__ import annotations

import json

import pytest
from starlette.responses import JSONResponse


def _artifact(artifact_id: str, name: str | None, jobs: int) -> dict:
    uses = [{"job_id": "job_9", "direction": "input"}] * min(1, jobs)
    return {
        "artifact_id": artifact_id, "size": 5, "media_type": "image/png", "name": name,
        "created_at": "2026-11-24T15:00:00Z", "jobs": uses, "job_count": jobs,
    }  # fmt: skip


@pytest.fixture
def stored(coordinator):
    """A coordinator with two files, which it lists."""
    first, second = coordinator.store(b"first"), coordinator.store(b"other")
    files = [_artifact(first, "talk.wav", 3), _artifact(second, None, 0)]
    upload = coordinator._upload

    async def listed_or_stored(request):
        if request.method == "POST":
            return await upload(request)
        prefix = request.query_params.get("prefix", "")
        page = [file for file in files if file["artifact_id"].startswith(prefix)]
        return JSONResponse(
            {"artifacts": page, "total": len(page), "stored_bytes": 10, "limit": 50, "offset": 0}
        )

    coordinator._upload = listed_or_stored
    coordinator.ids = (first, second)
    return coordinator


def test_files_are_listed_with_size_age_and_jobs(quick, stored) -> None:
    first, second = stored.ids
    listed = quick("artifacts", "ls")
    assert listed.stdout.splitlines() == [
        "ARTIFACT\tSIZE\tCREATED\tNAME\tJOBS\tTYPE\tNEWEST JOB",
        f"{first}\t5 bytes\t2026-11-24T15:00:00Z\ttalk.wav\t3\timage/png\tjob_9",
        f"{second}\t5 bytes\t2026-11-24T15:00:00Z\t\t0\timage/png\t",
    ]
    assert "2 files; 10 bytes count towards your quota." in listed.stderr
    assert quick("artifacts", "ls", first[7:12].upper()).stdout.count("sha256:") == 1
    assert quick("artifacts", "ls", "nonsense").returncode == 2


def test_a_file_is_found_by_a_part_of_its_id_or_its_name(quick, stored, workdir) -> None:
    """Under its own name, and without overwriting a file."""
    first, second = stored.ids
    assert quick("artifacts", "get", first[:14]).returncode == 0
    assert quick("artifacts", "get", "talk.wav", second[7:15]).returncode == 0
    assert {path.name: path.read_bytes() for path in workdir.iterdir()} == {
        "talk.wav": b"first",
        "talk-2.wav": b"first",
        f"{second[7:23]}.png": b"other",
    }
    (workdir / "mine").write_text("mine")
    assert quick("artifacts", "get", first, "-o", "mine").returncode == 2
    assert (workdir / "mine").read_text() == "mine"
    assert (
        "There is no file 'tolk.wav'. Did you mean 'talk.wav'?"
        in quick("artifacts", "get", "tolk.wav").stderr
    )


def test_put_prints_each_id_once(quick, stored, workdir) -> None:
    (workdir / "a.txt").write_bytes(b"a")
    (workdir / "b.txt").write_bytes(b"b")
    one = quick("artifacts", "put", "a.txt").stdout
    assert one == f"{stored.store(b'a')}\n"
    assert quick("artifacts", "put", "a.txt", "b.txt", "*.txt").stdout.splitlines() == [
        f"{stored.store(b'a')}  a.txt",
        f"{stored.store(b'b')}  b.txt",
    ]
    uploaded = json.loads(quick("artifacts", "put", ".", "--json").stdout)["artifacts"]
    assert uploaded == {"a.txt": stored.store(b"a"), "b.txt": stored.store(b"b")}


def test_an_id_stands_for_a_file(quick, stored) -> None:
    quick("transcribe", stored.ids[0], "--detach", "--model", "m")
    assert stored.bodies[-1]["audio_url"] == f"artifact:{stored.ids[0]}"
