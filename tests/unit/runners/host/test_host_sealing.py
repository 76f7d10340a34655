"""The child opens the shared vectors of sealed jobs, and what it seals opens with the SDK."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from aitbc.canonical import b64decode
from aitbc.sealing import AnswerOpener, JobOfRequest, ReplyKey, open_file
from aitbc.sealing.suite import salted
from runners.api import Fail
from runners.host.protocol import FileReference, JobLog, Run, SealedRun, encode
from runners.host.sealing import Quiet, RunSealing

VECTORS = json.loads((Path(__file__).parents[4] / "tests" / "vectors" / "sealed.json").read_text())
REQUEST, ANSWER = VECTORS["request"], VECTORS["answer"]
CONTENT = (bytes(range(251)) * 4)[:1000]


class Child:
    """One sealed run of the vectors' request, with changes."""

    def __init__(self, directory: Path, *, ciphertext: str | None = None, file: bytes | None = None) -> None:
        self.sent: list[JobLog] = []
        (directory / "output").mkdir(parents=True)
        sealed_file = directory / "0"
        sealed_file.write_bytes(b64decode(VECTORS["files"][2]["sealed"]) if file is None else file)
        header = {name: ANSWER["results"]["sealed"][name] for name in ("version", "fence", "spec_digest", "capsule")}  # fmt: skip
        sealed = SealedRun(
            secret=bytes.fromhex(REQUEST["secret"]),
            answer=bytes.fromhex(ANSWER["secret"]),
            header=header,
            ciphertext=ciphertext or REQUEST["sealed"]["ciphertext"],
            directory=directory / "memory",
            log_bytes=57_344,
        )
        self.run = Run(
            run_id="job_1_4",
            parameters={},
            files={"0": sealed_file},
            output=directory / "output",
            work=directory,
            timeout_seconds=60,
            sealed=sealed,
        )
        self.run = Run.model_validate_json(encode(self.run)[4:])  # as the child receives it
        assert self.run.sealed is not None
        self.sealing = RunSealing(self.run, self.run.sealed, self.sent.append)


def opener() -> AnswerOpener:
    job = JobOfRequest(*(ANSWER[name] for name in ("job_id", "miner_id", "request_id")))
    return AnswerOpener(ReplyKey(b64decode(VECTORS["reply_key"]["private_key"])), job)


def sealed_file(number: int, key: str, content: bytes = CONTENT) -> bytes:
    """Seal the content with the key of file `number` of the vectors, which each belong to another input."""
    import io  # noqa: PLC0415

    from aitbc.sealing import seal_file  # noqa: PLC0415

    return b"".join(seal_file(bytes.fromhex(key), io.BytesIO(content)))


def child(directory: Path, **changes: Any) -> Child:
    file = sealed_file(0, VECTORS["files"][0]["key"])
    return Child(directory, **({"file": file} | changes))


def test_the_request_opens_and_the_answer_opens_for_its_client(tmp_path: Path) -> None:
    made = child(tmp_path)
    parameters = made.sealing.open()
    assert parameters == json.loads(REQUEST["plaintext"])["parameters"]
    assert made.sealing.files["audio_url"].read_bytes() == CONTENT

    (made.sealing.output / "talk.vtt").write_bytes(CONTENT * 100)
    reference = FileReference(path="talk.vtt", media_type="text/vtt", name="talk.vtt", extra={"frame": 1})
    described = made.sealing.file(reference)
    assert made.sealing.file(reference) == described  # a file that results name twice is sealed once
    outer, digests = made.sealing.seal(
        {"text": "Hello", "files": [described], "processing_time": 1.0, "units": 2}
    )
    assert (outer["units"], [file["$file"]["path"] for file in outer["files"]]) == (2, ["0.sealed"])
    assert b"Hello" not in json.dumps(outer).encode()
    results = {**outer, "files": [{**described, "name": "0.sealed"}]}
    opened = opener().results(results)
    assert (opened.results["text"], opened.files[0]["size"], described["frame"]) == ("Hello", 100_000, 1)
    sealed = (made.run.output / "0.sealed").open("rb")
    assert b"".join(open_file(opener().file_key(results, 0), sealed)) == CONTENT * 100
    secret = bytes.fromhex(REQUEST["secret"])
    assert digests.request == REQUEST["salted"]["request"]
    assert digests.inputs == [REQUEST["salted"]["input:0"]]
    assert digests.outputs == [salted(secret, "output:0", CONTENT * 100)]
    assert digests.results == opened.digest

    first, second = (made.sealing.event("token", {"text": text}) for text in ("a", "b"))
    following = opener()
    assert [following.event(event) for event in (first, second)] == [("token", {"text": "a"}), ("token", {"text": "b"})]  # fmt: skip
    assert len(first["ciphertext"]) == len(
        made.sealing.event("token", {"text": "a longer piece"})["ciphertext"]
    )
    made.sealing.close()
    assert not (tmp_path / "memory").exists()


def test_what_was_changed_does_not_open(tmp_path: Path) -> None:
    ciphertext = REQUEST["sealed"]["ciphertext"]
    changed = ciphertext[:50] + ("A" if ciphertext[50] != "A" else "B") + ciphertext[51:]
    good = sealed_file(0, VECTORS["files"][0]["key"])
    another = bytes([*good[:-1], good[-1] ^ 1])
    cases = [{"ciphertext": changed}, {"file": another}, {"file": good[:-16]}, {"file": good + good}]
    listed = sealed_file(
        0, VECTORS["files"][0]["key"], CONTENT[:-1]
    )  # intact, but not the one that is listed
    cases.append({"file": listed})
    for number, changes in enumerate(cases):
        made = child(tmp_path / str(number), **changes)
        with pytest.raises(Fail) as refused:
            made.sealing.open()
        assert refused.value.code == "SEALED_INVALID"
    made = child(tmp_path / "unsealed")
    made.sealing.open()
    with pytest.raises(Fail, match="was not sealed"):
        made.sealing.require("image_url", "https://example.com/a.png")
    made.sealing.require("model.source", {"inline": "print()"})
    assert made.sealing.files["model.source"].read_text() == "print()"


def test_the_sealed_log_is_bounded_and_has_the_reason_of_a_failure(tmp_path: Path) -> None:
    made = child(tmp_path)
    for number in range(5000):
        made.sealing.log.add(f"line {number}", "ffmpeg")
    made.sealing.log.failure = {"code": "INPUT_INVALID", "message": "the file talk.wav is damaged"}
    made.sealing.log.finish()
    (message,) = made.sent
    assert {line.source for line in message.lines} == {"sealed"}
    text = "".join(line.text for line in message.lines)
    assert len(text) <= 57_344
    log = opener().log(text)
    assert (log["entries"][0]["text"], log["entries"][-1]["text"]) == ("line 0", "line 4999")
    assert (log["truncated"], log["failure"]["message"]) == (True, "the file talk.wav is damaged")
    quiet = child(tmp_path / "quiet")
    quiet.sealing.log.finish()
    assert quiet.sent == []


def test_a_sealed_run_prints_nothing_and_leaves_temporary_files_in_memory(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made, quiet, before = child(tmp_path), Quiet(), tempfile.gettempdir()
    made.sealing.open()
    with quiet.during(), quiet.during(), made.sealing.in_memory():
        os.write(1, b"a prompt\n")
        assert Path(tempfile.gettempdir()).is_relative_to(tmp_path / "memory")
    os.write(1, b"another run\n")
    assert (capfd.readouterr().out, tempfile.gettempdir()) == ("another run\n", before)
