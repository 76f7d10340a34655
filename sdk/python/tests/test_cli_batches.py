"""Batches: which files one command processes, what it does not repeat, and how it resumes after an interruption."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections import deque

import pytest

from aitbc.cli._batch import patience
from aitbc.cli._batch.journal import Entry, Journal, write_file

from .conftest import INTERRUPTIBLE
from .support.stand_in import error

RUNNING = {"status": "running", "progress": 1}
FAILED = {"status": "failed", "error": {"code": "INPUT_INVALID", "message": "No audio."}}


@pytest.fixture
def talks(workdir, coordinator):
    """A directory with five recordings, and one result for all of them."""
    coordinator.results = {"text": " Hello. "}
    directory = workdir / "talks"
    for number in range(5):
        (directory / "more").mkdir(parents=True, exist_ok=True)
        (directory / f"{number}.wav").write_bytes(b"RIFF%d" % number)
    (directory / "notes.md").write_text("no recording")
    (directory / ".hidden.wav").write_bytes(b"RIFF")
    (directory / "more" / "5.wav").write_bytes(b"RIFF5")
    return directory


def statuses(outcome) -> dict[str, str]:
    return {file["input"]: file["status"] for file in json.loads(outcome.stdout)["files"]}


def test_a_directory_is_a_batch(quick, talks, coordinator) -> None:
    """Only visible recordings are included, without subdirectories; each text is written beside its recording."""
    outcome = quick("transcribe", "talks")
    assert outcome.returncode == 0, outcome.stderr
    assert len(coordinator.created) == len(coordinator.bodies) == 5
    assert sorted(path.name for path in talks.glob("*.txt")) == [f"{number}.txt" for number in range(5)]
    assert (talks / "0.txt").read_text() == "Hello.\n"
    assert outcome.stderr.splitlines()[-1] == "5 files done"
    assert outcome.stdout == ""


def test_outputs_keep_the_directory_structure(quick, talks, workdir) -> None:
    """-r includes subdirectories, and -o gets the same ones."""
    outcome = quick("transcribe", "talks", "-r", "-o", "texts")
    assert outcome.returncode == 0, outcome.stderr
    assert (workdir / "texts" / "more" / "5.txt").is_file()
    assert len(list((workdir / "texts").rglob("*.txt"))) == 6
    assert not list(talks.rglob("*.txt"))


def test_a_file_named_twice_is_processed_once(quick, talks, coordinator) -> None:
    """The command expands patterns that the shell did not."""
    outcome = quick("transcribe", "talks/[01].wav", "talks/1.wav", "talks/2.wav", "--json")
    assert list(statuses(outcome)) == ["talks/0.wav", "talks/1.wav", "talks/2.wav"]
    assert len(coordinator.created) == 3


def test_a_second_run_processes_only_missing_outputs(quick, talks, coordinator) -> None:
    """Finished files are skipped; changed files and other parameters are new work."""
    assert json.loads(quick("transcribe", "talks", "--json").stdout)["done"] == 5
    assert json.loads(quick("transcribe", "talks", "--json").stdout)["skipped"] == 5
    assert len(coordinator.bodies) == 5
    (talks / "1.wav").write_bytes(b"RIFF changed")
    (talks / "3.txt").unlink()
    again = quick("transcribe", "talks", "--json", "--max-cost", "2")
    found = statuses(again)
    assert [name for name, status in found.items() if status == "done"] == ["talks/1.wav", "talks/3.wav"]
    assert len(coordinator.bodies) == 6  # the deleted output came from the existing job
    assert json.loads(quick("transcribe", "talks", "--json", "--task", "translate").stdout)["done"] == 5
    assert len(coordinator.bodies) == 11


def test_an_output_that_another_run_overwrote_is_restored(quick, talks, coordinator) -> None:
    """A run with other parameters overwrote it; the first parameters restore it from the first job."""
    for arguments in ((), ("--language", "en"), ()):
        outcome = quick("transcribe", "talks/0.wav", "--txt", "--json", *arguments)
        assert statuses(outcome) == {"talks/0.wav": "done"}
    assert len(coordinator.bodies) == 2


def test_force_creates_a_new_job(quick, talks, coordinator) -> None:
    """It has a new idempotency key, even though the work is done."""
    quick("transcribe", "talks/0.wav", "--txt")
    outcome = quick("transcribe", "talks/0.wav", "--txt", "--force", "--json")
    assert statuses(outcome) == {"talks/0.wav": "done"}
    assert len(coordinator.created) == 2


def test_the_same_content_twice_is_one_job(quick, talks, coordinator) -> None:
    """A copy under another name gets its text from the first file's job."""
    (talks / "copy.wav").write_bytes((talks / "0.wav").read_bytes())
    assert quick("transcribe", "talks/0.wav", "talks/copy.wav").returncode == 0
    assert (talks / "copy.txt").read_text() == "Hello.\n"
    assert len(coordinator.created) == 1


def test_another_format_needs_no_new_job(quick, talks, coordinator) -> None:
    """The subtitles of a recording that was already transcribed come from its job."""
    srt = b"1\n00:00:00,000 --> 00:00:01,000\nHello.\n"
    artifact_id = coordinator.store(srt)
    file = {"artifact_id": artifact_id, "url": "/", "media_type": "a/b", "size": 1, "name": "transcript.srt"}
    coordinator.results = {"text": "Hello.", "files": [file]}
    assert quick("transcribe", "talks/0.wav").stdout == "Hello.\n"
    assert quick("transcribe", "talks/0.wav", "--srt").returncode == 0
    assert (talks / "0.srt").read_bytes() == srt
    assert len(coordinator.created) == 1


def test_failures_do_not_stop_the_rest(quick, talks, coordinator) -> None:
    """They are listed at the end, and the next run retries only them, with new idempotency keys."""
    coordinator.ends = {"job_2": FAILED}
    outcome = quick("transcribe", "talks", "--jobs", "1")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-2:] == [
        "aitbc: 1 of 5 files failed. Run the same command to retry them:",
        "  talks/1.wav: Job job_2 failed (INPUT_INVALID): No audio.",
    ]
    outcome = quick("transcribe", "talks", "--json")
    assert statuses(outcome)["talks/1.wav"] == "done"
    assert json.loads(outcome.stdout)["skipped"] == 4
    assert len(coordinator.created) == 6


def test_an_error_that_concerns_every_job_ends_the_batch(quick, talks, coordinator) -> None:
    """After the first refusal for lack of money, no further request is sent."""
    coordinator.faults.extend([error(402, "INSUFFICIENT_BALANCE", "Not enough.")] * 5)
    outcome = quick("transcribe", "talks", "--jobs", "1", "--json")
    assert (outcome.returncode, len(coordinator.seen)) == (5, 1)
    assert json.loads(outcome.stdout)["left"] == 4
    assert "4 were not started" in outcome.stderr


def test_a_foreign_file_is_not_overwritten(quick, talks, coordinator) -> None:
    """Neither an existing file nor an edited output, unless --force is given; no job is created."""
    (talks / "0.txt").write_text("my own notes")
    outcome = quick("transcribe", "talks/0.wav", "--txt")
    assert outcome.returncode == 1
    assert "--force overwrites it" in outcome.stderr
    assert (coordinator.bodies, (talks / "0.txt").read_text()) == ([], "my own notes")
    assert quick("transcribe", "talks/0.wav", "--txt", "--force").returncode == 0
    assert (talks / "0.txt").read_text() == "Hello.\n"
    (talks / "0.txt").write_text("corrected")
    assert quick("transcribe", "talks/0.wav", "--txt").returncode == 0
    assert (talks / "0.txt").read_text() == "corrected"
    assert quick("transcribe", "talks/0.wav", "--txt", "--language", "en").returncode == 1
    assert (talks / "0.txt").read_text() == "corrected"


def test_outputs_are_not_inputs(quick, workdir, coordinator, signed) -> None:
    """A second run over a directory that now also has the outputs is the same batch."""
    coordinator.results = signed.results
    coordinator.store(b"a short film")
    for name in ("a.mov", "b.mov"):
        (workdir / name).write_bytes(name.encode())
    assert quick("transcode", ".", "--format", "mp4").returncode == 0
    assert sorted(statuses(quick("transcode", ".", "--format", "mp4", "--json"))) == ["a.mov", "b.mov"]
    assert len(coordinator.created) == 2


def test_inputs_that_differ_only_in_their_suffix_have_outputs_of_their_own(quick, talks, coordinator) -> None:
    """Their outputs retain the suffix."""
    (talks / "0.mp3").write_bytes(b"ID3")
    outcome = quick("transcribe", "talks/0.mp3", "talks/0.wav", "talks/1.wav", "--txt")
    assert outcome.returncode == 0
    assert sorted(path.name for path in talks.glob("*.txt")) == ["0.mp3.txt", "0.wav.txt", "1.txt"]


def test_two_inputs_with_the_same_output_are_refused(quick, talks, coordinator) -> None:
    """Two directories have a recording of the same name."""
    (talks / "more" / "0.wav").write_bytes(b"another")
    outcome = quick("transcribe", "talks/0.wav", "talks/more/0.wav", "--txt", "-o", "texts")
    assert outcome.returncode == 2
    assert coordinator.seen == []


def test_a_detached_job_is_fetched_later(quick, talks, coordinator) -> None:
    """Its id is printed; the same command without --detach waits for the same job."""
    detached = quick(
        "transcribe",
        "talks/0.wav",
        "--txt",
        "--detach",
        "--label",
        "a=1",
        "--webhook",
        "https://example.com/h",
    )
    assert (detached.returncode, detached.stdout) == (0, "job_1\n")
    assert coordinator.bodies[0]["labels"] == {"a": "1"}
    assert coordinator.bodies[0]["webhook_url"] == "https://example.com/h"
    assert quick("transcribe", "talks/0.wav", "--txt").returncode == 0
    assert list(coordinator.created.values()) == ["job_1"]
    assert quick("transcribe", "talks/0.wav", "--txt", "--label", "a").returncode == 2


def test_a_restart_of_the_coordinator_is_bridged(quick, talks, coordinator, monkeypatch) -> None:
    """While it is away, the command keeps trying; the job is not submitted again."""
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.01)

    def away() -> None:
        coordinator.faults.extend(
            [error(503, "SERVICE_UNAVAILABLE", "It starts.", **{"Retry-After": "0"})] * 12
        )

    coordinator.on_created = away
    outcome = quick("transcribe", "talks/0.wav", "--txt")
    assert outcome.returncode == 0, outcome.stderr
    assert "the coordinator does not respond; trying again for 60 s" in outcome.stderr
    assert (len(coordinator.created), len(coordinator.faults)) == (1, 0)


def test_a_coordinator_that_stays_away_leaves_the_job_running(quick, talks, coordinator, monkeypatch) -> None:
    """The message names the job and says how to resume; the same command then gets its results."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.01)

    def away() -> None:
        coordinator.faults.extend(
            [error(503, "SERVICE_UNAVAILABLE", "It starts.", **{"Retry-After": "0"})] * 10
        )

    coordinator.on_created = away
    outcome = quick("transcribe", "talks/0.wav", "--txt")
    assert outcome.returncode == 4
    assert (
        "Job job_1 goes on without this command. Run the same command later to get its results."
        in outcome.stderr
    )
    coordinator.faults.clear()
    assert quick("transcribe", "talks/0.wav", "--txt").returncode == 0
    assert len(coordinator.created) == 1


def test_receipts_of_several_jobs_need_a_directory(quick, talks, workdir, coordinator, signed) -> None:
    """A file has only one receipt."""
    coordinator.receipt = signed.receipt
    coordinator.proofs.append(signed.proof)
    assert quick("transcribe", "talks/0.wav", "talks/1.wav", "--receipt", "proof").returncode == 0
    assert sorted(path.name for path in (workdir / "proof").iterdir()) == [
        "0.wav.receipt.json",
        "1.wav.receipt.json",
    ]
    (workdir / "one.json").touch()
    assert quick("transcribe", "talks/0.wav", "talks/1.wav", "--receipt", "one.json").returncode == 2


def test_missing_results_are_fetched_without_a_new_job(quick, talks, coordinator) -> None:
    """The download failed; the next run repeats only the download."""
    coordinator.results = {}
    assert quick("transcribe", "talks/0.wav", "--txt").returncode == 1
    coordinator.results = {"text": "Late."}
    assert quick("transcribe", "talks/0.wav", "--txt").returncode == 0
    assert (talks / "0.txt").read_text() == "Late.\n"
    assert len(coordinator.bodies) == 1


@pytest.mark.parametrize("priority", ["0", "9"])
@pytest.mark.system
def test_a_run_after_a_kill_during_submission_gets_the_same_job(
    quick, environment, talks, workdir, coordinator, priority
) -> None:
    """The attempt was recorded first, so the next run sends the same key and body, even with other options."""
    coordinator.holds_creating = True
    process = subprocess.Popen(
        [sys.executable, "-m", "aitbc.cli", "transcribe", "talks/0.wav", "--txt", "--priority", "0"],
        env=environment, cwd=workdir, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert coordinator.creating.wait(120)
    process.kill()
    process.wait()
    coordinator.holds_creating = False
    coordinator.answering.set()
    assert quick("transcribe", "talks/0.wav", "--txt", "--priority", priority).returncode == 0
    assert coordinator.bodies[0] == coordinator.bodies[1]
    assert list(coordinator.created.values()) == ["job_1"]
    assert (talks / "0.txt").is_file()


@pytest.mark.system
def test_ctrl_c_during_submission_cancels_the_job(environment, talks, workdir, coordinator) -> None:
    """Ctrl-C waits for the job's id, and cancels it."""
    coordinator.holds_creating = True
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "aitbc.cli", "transcribe", "talks/0.wav"],
        env=environment, cwd=workdir, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert coordinator.creating.wait(120)
    process.send_signal(signal.SIGINT)
    coordinator.answering.set()
    _, stderr = process.communicate(timeout=120)
    assert (process.returncode, coordinator.cancelled.is_set()) == (130, True)
    assert "Interrupted. Job job_1 was cancelled." in stderr


@pytest.mark.parametrize("known", [True, False])
def test_a_cancelled_job_is_replaced(quick, talks, coordinator, tmp_path, known) -> None:
    """Whether its id was recorded or not."""
    coordinator.ends = {"job_1": {"status": "cancelled"}}
    assert quick("transcribe", "talks/0.wav", "--txt").returncode == 1
    if not known:
        (entry,) = (tmp_path / "state" / "aitbc" / "work").iterdir()
        entry.write_text(json.dumps({**json.loads(entry.read_text()), "job_id": None}))
    assert quick("transcribe", "talks/0.wav", "--txt").returncode == 0
    assert list(coordinator.created.values()) == ["job_1", "job_2"]


def test_another_user_of_the_account_has_jobs_of_its_own(quick, talks, coordinator, tmp_path) -> None:
    """The same work from another state directory is another job, so cancelling it does not affect the first user."""
    quick("transcribe", "talks/0.wav")
    quick("transcribe", "talks/0.wav", XDG_STATE_HOME=str(tmp_path / "other"))
    assert list(coordinator.created.values()) == ["job_1", "job_2"]


def test_a_refused_attempt_is_replaced(quick, talks, coordinator, tmp_path) -> None:
    """The uploaded file was deleted meanwhile: it is uploaded again, with a new idempotency key."""
    quick("transcribe", "talks/0.wav", "--txt")
    (entry,) = (tmp_path / "state" / "aitbc" / "work").iterdir()
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "job_id": None, "targets": {}}))
    coordinator.faults.append(error(422, "VALIDATION_ERROR", "An input file is missing."))
    outcome = quick("transcribe", "talks/0.wav", "--txt")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(entry.read_text())["attempt"] == 2
    assert coordinator.paths().count("POST /v1/artifacts") == 2


@pytest.mark.system
def test_ctrl_c_cancels_all_running_jobs(environment, talks, workdir, coordinator) -> None:
    """The command prints their ids."""
    coordinator.states = deque([RUNNING])
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "aitbc.cli", "transcribe", "talks", "-j", "2"],
        env=environment, cwd=workdir, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    seen = [next(line for line in process.stderr if "running" in line) for _ in range(2)]
    assert len(seen) == 2
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert set(coordinator.ends) == {"job_1", "job_2"}
    assert "Interrupted. 2 jobs were cancelled" in stderr


@pytest.mark.system
def test_a_second_ctrl_c_exits_at_once(environment, talks, workdir, coordinator) -> None:
    """Even if the coordinator does not respond to the cancellation."""
    coordinator.states = deque([RUNNING])
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "aitbc.cli", "transcribe", "talks/0.wav"],
        env=environment, cwd=workdir, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    next(line for line in process.stderr if "running" in line)
    coordinator.holds_cancelling = True
    process.send_signal(signal.SIGINT)
    assert coordinator.cancelled.wait(120)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130


def test_frames_are_downloaded_before_the_job_ends(environment, workdir, coordinator) -> None:
    """Each frame is downloaded when the runner publishes it."""
    (workdir / "scene.blend").write_bytes(b"BLENDER")
    frame = coordinator.store(b"a picture")
    published = {"job_id": "job_1", "kind": "output", "artifact_id": frame, "name": "../frame_0001.png"}
    coordinator.streams.append([f"event: job_event\ndata: {json.dumps(published)}\n\n".encode(), b"hold"])
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "aitbc.cli", "render", "scene.blend", "--frames", "1-2"],
        env=environment, cwd=workdir, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert next(line for line in process.stderr if "frame_0001.png" in line)
    assert (workdir / "scene" / "frame_0001.png").read_bytes() == b"a picture"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert coordinator.bodies[0]["frames"] == "1-2"


def test_each_written_file_is_named_once(quick, workdir, coordinator) -> None:
    """Frames that arrive early are not named again when the job has ended."""
    (workdir / "scene.blend").write_bytes(b"BLENDER")
    frames = {f"frame_000{number}.png": coordinator.store(b"picture %d" % number) for number in (1, 2)}
    early = {
        "job_id": "job_1",
        "kind": "output",
        "artifact_id": frames["frame_0001.png"],
        "name": "frame_0001.png",
    }
    completed = {"job_id": "job_1", "status": "completed"}
    coordinator.streams.append(
        [
            f"event: job_event\ndata: {json.dumps(early)}\n\n".encode(),
            f"event: job_update\ndata: {json.dumps(completed)}\n\n".encode(),
        ]
    )
    coordinator.results = {
        "files": [
            {"artifact_id": artifact_id, "url": "/", "media_type": "image/png", "size": 9, "name": name}
            for name, artifact_id in frames.items()
        ]
    }
    outcome = quick("render", "scene.blend", "--frames", "1-2")
    assert outcome.returncode == 0, outcome.stderr
    wrote = [line for line in outcome.stderr.splitlines() if "wrote" in line]
    assert wrote == [f"scene.blend: wrote scene/{name}" for name in frames]


def test_a_run_that_failed_is_reported_as_an_attempt(quick, coordinator) -> None:
    """The job's states in between are not repeated."""
    failure = {"code": "MODEL_UNAVAILABLE", "message": "The model cannot be fetched."}
    states = [
        {"status": "submitted", "attempts": 0},
        {"status": "running", "attempts": 1, "progress": 60},
        {"status": "submitted", "attempts": 1, "max_attempts": 3, "last_failure": failure},
        {"status": "running", "attempts": 2},
        {"status": "running", "attempts": 2, "progress": 30},
        {"status": "submitted", "attempts": 2, "max_attempts": 3, "last_failure": failure},
        {"status": "running", "attempts": 3},
        {
            "status": "failed",
            "attempts": 3,
            "error": {**failure, "message": "The model cannot be fetched (tried 3 times)."},
        },
    ]
    coordinator.states.clear()
    coordinator.states.extend(states)
    outcome = quick("transcribe", "https://example.com/a.mp3")
    assert outcome.returncode == 1
    assert [line.removeprefix("https://example.com/a.mp3: ") for line in outcome.stderr.splitlines()] == [
        "job_1 submitted",
        "job_1 running 60%",
        "attempt 2 of 3: The model cannot be fetched.",
        "job_1 running 30%",
        "attempt 3 of 3: The model cannot be fetched.",
        "job_1 failed",
        "aitbc: Job job_1 failed (MODEL_UNAVAILABLE): The model cannot be fetched (tried 3 times).",
    ]


@pytest.mark.parametrize("refused", [1, 2])
def test_values_that_the_coordinator_refuses_are_wrong_usage(quick, coordinator, refused) -> None:
    """No job was created, whether there is one file or several."""
    coordinator.faults.extend([error(422, "VALIDATION_ERROR", "There is no model 'gpt-4'.")] * refused)
    inputs = [f"https://example.com/{number}.mp3" for number in range(refused)]
    outcome = quick("transcribe", *inputs, "--model", "gpt-4")
    assert (outcome.returncode, coordinator.created) == (2, {})
    assert "There is no model" in outcome.stderr


def test_the_frames_of_a_scene_are_divided_among_jobs(quick, workdir, coordinator) -> None:
    """The jobs share one upload and have names of their own."""
    (workdir / "scene.blend").write_bytes(b"BLENDER")
    outcome = quick("render", "scene.blend", "--frames", "1-5,9", "--split", "4", "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert sorted(body["frames"] for body in coordinator.bodies) == ["1", "2-3", "4", "5,9"]
    assert len({body["blend_file_url"] for body in coordinator.bodies}) == 1
    assert [path for method, path, _ in coordinator.seen if method == "POST"].count("/v1/artifacts") == 1
    assert set(statuses(outcome)) == {f"scene.blend {frames}" for frames in ("1", "2-3", "4", "5,9")}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--split", "2"), "--split divides the frames that --frames names"),
        (("--frames", "9-x", "--split", "2"), "'9-x'"),
        (("--frames", "9-1", "--split", "2"), "'9-1'"),
        (("--frames", "1-4", "--video", "--split", "2"), "--split cannot be combined with --video"),
    ],
)
def test_frames_that_cannot_be_divided_are_refused(quick, workdir, coordinator, options, words) -> None:
    (workdir / "scene.blend").write_bytes(b"BLENDER")
    outcome = quick("render", "scene.blend", *options)
    assert outcome.returncode == 2
    assert words in outcome.stderr
    assert not coordinator.created


def test_imagine_without_a_seed_writes_a_new_image_each_time(quick, workdir, coordinator) -> None:
    """It overwrites no image, and numbers several images."""
    artifact_id = coordinator.store(b"a picture")
    image = {"artifact_id": artifact_id, "url": "/", "media_type": "image/png", "size": 9, "name": "1.png"}
    coordinator.results = {"images": [image]}
    for _ in range(2):
        assert quick("imagine", "A cat, on a mat!", "--steps", "2", "--size", "64x64").returncode == 0
    assert sorted(path.name for path in workdir.glob("*")) == ["a-cat-on-a-mat-2.png", "a-cat-on-a-mat.png"]
    coordinator.results = {"images": [image, image]}
    outcome = quick("imagine", "A cat", "-n", "2", "-o", "cat.webp", "--json")
    assert json.loads(outcome.stdout)["files"][0]["outputs"] == ["cat-1.webp", "cat-2.webp"]
    assert coordinator.bodies[-1] == {"prompt": "A cat", "num_images": 2, "output_format": "webp"}
    assert len(coordinator.created) == 3


def test_run_sends_the_model_and_every_input(quick, workdir, coordinator) -> None:
    """They are sent as artifacts; parameters are JSON if possible; results are printed, or written with -o."""
    coordinator.results = {"label": "cat"}
    (workdir / "model.py").write_bytes(b"def predict(input): ...")
    (workdir / "cat.jpg").write_bytes(b"\xff\xd8")
    (workdir / "needs.txt").write_text("numpy  # arrays\n\npillow>=11\n")
    outcome = quick(
        *(
            "run",
            "model.py",
            "--input",
            "cat.jpg",
            "--requirements",
            "needs.txt",
            "--requirements",
            "torch,scipy",
        ),
        *("-p", "threshold=0.5", "-p", "kind=animal", "--gpu", "1"),
    )
    assert json.loads(outcome.stdout) == {"label": "cat"}
    body = coordinator.bodies[0]
    digest = {
        name: hashlib.sha256((workdir / name).read_bytes()).hexdigest() for name in ("model.py", "cat.jpg")
    }
    assert body["model"] == {
        "type": "python",
        "entrypoint": "model.py",
        "requirements": ["numpy", "pillow>=11", "torch", "scipy"],
        "source": f"artifact:sha256:{digest['model.py']}",
    }
    assert body["input"] == {
        "type": "file", "format": "jpg", "source": f"artifact:sha256:{digest['cat.jpg']}",
    }  # fmt: skip
    assert (body["parameters"], body["resources"]) == ({"threshold": 0.5, "kind": "animal"}, {"gpu": "1"})
    assert quick("run", "model.py", "--input", "cat.jpg", "-o", "out").stdout == ""
    assert json.loads((workdir / "out" / "cat.jpg.json").read_text()) == {"label": "cat"}


def test_journal_ignores_malformed_entries(tmp_path) -> None:
    """An entry that is broken or of another version counts as missing. Entries are written atomically and are private."""
    journal = Journal(tmp_path)
    journal.save("a", Entry(2, {"x": 1}, "job_1"))
    assert journal.entry("a") == Entry(2, {"x": 1}, "job_1")
    path = tmp_path / "work" / "a"
    assert path.stat().st_mode & 0o777 == 0o600
    for content in ("", "[]", '{"unknown": 1}'):
        path.write_text(content)
        assert journal.entry("a") is None
    with pytest.raises(TypeError):
        write_file(path, "text")
    assert [path.name for path in path.parent.iterdir()] == ["a"]
    assert path.read_text() == '{"unknown": 1}'
