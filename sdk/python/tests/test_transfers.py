"""Files are streamed, verified by their digests, and resumed after an interruption."""

from __future__ import annotations

import hashlib
import io
import os

import pytest
from starlette.responses import Response

import aitbc
from aitbc._http.transfer import Source

from .support.stand_in import PIECE, error

DATA = hashlib.shake_128(b"film").digest(10 * PIECE + 17)


def test_upload_of_a_path_bytes_and_a_file(calls, coordinator, tmp_path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    file = io.BytesIO(b"skip" + DATA)
    file.seek(4)
    for content in (path, DATA, file):
        coordinator.artifacts.clear()
        artifact = calls(
            lambda client, content=content: client.artifacts.upload(content, media_type="video/mp4")
        )
        assert coordinator.artifacts == {artifact.artifact_id: DATA}
        assert (artifact.size, artifact.media_type) == (len(DATA), "video/mp4")
        assert coordinator.seen[-1][2]["content-length"] == str(len(DATA))


def test_upload_of_a_pipe_is_streamed_without_a_length(calls, coordinator) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        artifact = calls(lambda client: client.artifacts.upload(pipe))
    assert coordinator.artifacts[artifact.artifact_id] == b"from a pipe"
    assert coordinator.seen[0][2]["transfer-encoding"] == "chunked"


def test_upload_of_a_pipe_is_not_retried(calls, coordinator, no_pauses) -> None:
    """A pipe cannot be read twice."""
    coordinator.faults.append(error(503, "SERVICE_UNAVAILABLE", "Not yet."))
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe, pytest.raises(aitbc.ServiceUnavailable):
        calls(lambda client: client.artifacts.upload(pipe))
    assert len(coordinator.seen) == 1


def test_upload_is_retried_from_the_beginning(calls, coordinator, no_pauses) -> None:
    coordinator.faults.append(error(503, "SERVICE_UNAVAILABLE", "Not yet."))
    artifact = calls(lambda client: client.artifacts.upload(io.BytesIO(DATA)))
    assert coordinator.artifacts == {artifact.artifact_id: DATA}


def test_upload_that_was_stored_incorrectly_is_detected(calls, coordinator, monkeypatch) -> None:
    monkeypatch.setattr(coordinator, "store", lambda data: type(coordinator).store(coordinator, data[:-1]))
    with pytest.raises(aitbc.VerificationError, match="was sent"):
        calls(lambda client: client.artifacts.upload(DATA))


def test_bytes_that_are_read_twice_count_once() -> None:
    """The digest of a resumed upload is that of the file."""
    source = Source(DATA)
    pieces = source.chunks()
    read = len(next(pieces)) + len(next(pieces))
    source.part(read - 1000, len(DATA))
    assert source.length == len(DATA) - read + 1000
    assert b"".join(source.chunks()) == DATA[read - 1000 :]
    assert source.sha256 == hashlib.sha256(DATA).hexdigest()


def test_a_file_that_changes_during_an_upload_is_detected(tmp_path) -> None:
    """The uploaded bytes are a mixture of two files, so the digest differs from the coordinator's."""
    path = tmp_path / "film.mp4"
    path.write_bytes(DATA)
    source = Source(path)
    read = len(next(source.chunks()))
    path.write_bytes(bytes(len(DATA)))
    source.part(read - 1000, len(DATA))
    arrived = DATA[: read - 1000] + b"".join(source.chunks())
    assert source.sha256 != hashlib.sha256(arrived).hexdigest()


@pytest.mark.parametrize("data", [DATA, b""], ids=["large", "empty"])
def test_download(calls, coordinator, tmp_path, data: bytes) -> None:
    artifact_id = coordinator.store(data)
    path = calls(lambda client: client.artifacts.download(artifact_id, to=tmp_path / "film.mp4"))
    assert path.read_bytes() == data == calls(lambda client: client.artifacts.get(artifact_id))
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_download_resumes_when_the_connection_breaks(calls, coordinator, tmp_path, no_pauses) -> None:
    artifact_id = coordinator.store(DATA)
    coordinator.cut_after.extend([3 * PIECE + 5, 2 * PIECE, 10])
    calls(lambda client: client.artifacts.download(artifact_id, to=tmp_path / "film.mp4"))
    assert (tmp_path / "film.mp4").read_bytes() == DATA
    ranges = [headers.get("range") for _, _, headers in coordinator.seen]
    assert ranges[0] is None
    assert len(ranges) == 4
    starts = [int(value.removeprefix("bytes=").removesuffix("-")) for value in ranges[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 0


def test_download_resumes_an_earlier_one(calls, coordinator, tmp_path) -> None:
    artifact_id = coordinator.store(DATA)
    (tmp_path / "film.mp4.part").write_bytes(DATA[: 4 * PIECE])
    calls(lambda client: client.artifacts.download(f"artifact:{artifact_id}", to=tmp_path / "film.mp4"))
    assert (tmp_path / "film.mp4").read_bytes() == DATA
    assert [headers["range"] for _, _, headers in coordinator.seen] == [f"bytes={4 * PIECE}-"]


@pytest.mark.parametrize(
    "left", [b"other bytes", b"x" * (len(DATA) + 1), DATA], ids=["wrong", "too long", "complete"]
)
def test_download_handles_any_partial_file(calls, coordinator, tmp_path, left: bytes) -> None:
    artifact_id = coordinator.store(DATA)
    (tmp_path / "film.mp4.part").write_bytes(left)
    calls(lambda client: client.artifacts.download(artifact_id, to=tmp_path / "film.mp4"))
    assert (tmp_path / "film.mp4").read_bytes() == DATA


def test_download_without_range_support_starts_over(calls, coordinator, tmp_path, no_pauses) -> None:
    coordinator.ranges = False
    artifact_id = coordinator.store(DATA)
    coordinator.cut_after.append(3 * PIECE)
    calls(lambda client: client.artifacts.download(artifact_id, to=tmp_path / "film.mp4"))
    assert (tmp_path / "film.mp4").read_bytes() == DATA


def test_download_with_progress_may_break_any_number_of_times(
    calls, coordinator, tmp_path, no_pauses
) -> None:
    """There are more breaks than retries, but each piece that arrives resets the count."""
    artifact_id = coordinator.store(DATA)
    coordinator.cut_after.extend([PIECE] * 8)
    calls(lambda client: client.artifacts.download(artifact_id, to=tmp_path / "film.mp4"))
    assert (tmp_path / "film.mp4").read_bytes() == DATA
    assert len(coordinator.seen) == 9


def test_a_different_range_is_not_appended(calls, coordinator, tmp_path, no_pauses) -> None:
    artifact_id = coordinator.store(DATA)
    (tmp_path / "film.mp4.part").write_bytes(DATA[:PIECE])
    coordinator.faults.append(Response(DATA, 206, {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}))
    calls(lambda client: client.artifacts.download(artifact_id, to=tmp_path / "film.mp4"))
    assert (tmp_path / "film.mp4").read_bytes() == DATA
    assert [headers["range"] for _, _, headers in coordinator.seen] == [f"bytes={PIECE}-"] * 2


def test_download_without_progress_ends(calls, coordinator, tmp_path, no_pauses) -> None:
    artifact_id = coordinator.store(DATA)
    coordinator.cut_after.extend([0] * 50)
    with pytest.raises(aitbc.TransportError):
        calls(lambda client: client.artifacts.download(artifact_id, to=tmp_path / "film.mp4"))
    assert len(coordinator.seen) == 5


def test_corrupt_bytes_are_refused_and_leave_no_file(calls, coordinator, tmp_path) -> None:
    artifact_id = coordinator.store(DATA)
    coordinator.artifacts[artifact_id] = DATA[:-1] + b"!"
    with pytest.raises(aitbc.VerificationError, match="SHA-256"):
        calls(lambda client: client.artifacts.download(artifact_id, to=tmp_path / "film.mp4"))
    with pytest.raises(aitbc.VerificationError, match="SHA-256"):
        calls(lambda client: client.artifacts.get(artifact_id))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_download_of_an_unknown_artifact_is_not_found(calls, tmp_path) -> None:
    with pytest.raises(aitbc.NotFound):
        calls(lambda client: client.artifacts.download("sha256:" + "0" * 64, to=tmp_path / "film.mp4"))
    with pytest.raises(aitbc.FormatError):
        calls(lambda client: client.artifacts.get("../jobs"))
    assert [path.name for path in tmp_path.iterdir()] == []
