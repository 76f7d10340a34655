"""The command `aitbc` with a real agent and real engines: every command that creates a job, and an interrupted batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aitbc import AITBCClient
from aitbc.cli import main
from support.agents import Agent
from support.inputs.media import SENTENCE, make_scene, make_speech, make_video

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

COMMAND = Path(sys.executable).with_name("aitbc")
SECONDS = 300
WHISPER = "whisper_transcription"
TALKS = 8
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """The working directory of the command."""
    workdir = tmp_path / "work"
    workdir.mkdir()
    return workdir


@pytest.fixture
def environment(agent: Agent, tmp_path: Path) -> dict[str, str]:
    """An environment in which the SDK finds the agent by its data directory, as for a user."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    return {**inherited, "AITBC_DATA_DIR": str(agent.data_dir), "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def begin(environment: dict[str, str], workdir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the command. Ends the processes of failed tests."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [COMMAND, *arguments]
        begun.append(subprocess.Popen(command, env=environment, cwd=workdir, text=True, **pipes))
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def aitbc(
    environment: dict[str, str],
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Return a function that runs the command in this process, requires success, and returns its output."""
    for name in os.environ.keys() - environment.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(workdir)

    def aitbc(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["aitbc", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert not end.value.code, printed.err
        return printed.out

    return aitbc


def ends_after(process: subprocess.Popen[str], lines: int, text: str, number: int) -> int:
    """Send a signal once this many lines of stderr contain a text. Returns the exit code."""
    assert process.stderr is not None
    seen = 0
    while seen < lines:
        line = process.stderr.readline()
        assert line, "the command ended too early"
        seen += text in line
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    return process.returncode


def completed(client: AITBCClient) -> set[str]:
    """Return the completed transcriptions."""
    page = client.jobs.list(type=WHISPER, status="completed", limit=500)
    return {job.job_id for job in page.jobs}


def test_a_batch_interrupted_twice_processes_no_file_twice(
    client: AITBCClient, workdir: Path, begin: Callable[..., Any], aitbc: Callable[..., str]
) -> None:
    """After Ctrl-C, kill -9 and a complete run, each of eight recordings is completed and paid for once."""
    talks = workdir / "talks"
    talks.mkdir()
    for number in range(TALKS):
        path = talks / f"talk-{number:02}.wav"
        text = f"Message number {number}."
        subprocess.run(["espeak-ng", "-v", "en-us", "-s", "170", "-w", path, text], check=True)
    before = completed(client)
    batch = ("transcribe", "talks", "--model", "tiny.en", "--srt")
    assert ends_after(begin(*batch), 2, ": wrote ", signal.SIGINT) == 130
    assert 2 <= len(list(talks.glob("*.srt"))) < TALKS
    assert ends_after(begin(*batch), 2, ": wrote ", signal.SIGKILL) == -signal.SIGKILL
    answer = json.loads(aitbc(*batch, "--json"))
    assert (answer["done"] + answer["skipped"], answer["failed"]) == (TALKS, 0)
    assert answer["skipped"] >= 4
    made = completed(client) - before
    assert len(made) == TALKS
    assert {file["job_id"] for file in answer["files"]} == made
    payments = client.wallet.transactions(limit=500).transactions
    settled = [one.job_id for one in payments if one.status == "settled" and one.job_id in made]
    assert sorted(settled) == sorted(made)
    assert "-->" in (talks / "talk-07.srt").read_text()
    assert len(list(talks.iterdir())) == 2 * TALKS
    assert json.loads(aitbc(*batch, "--json"))["skipped"] == TALKS
    assert completed(client) - before == made


def test_a_transcript_is_printed_and_its_receipt_verifies(workdir: Path, aitbc: Callable[..., str]) -> None:
    """The transcript equals the sentence."""
    make_speech(workdir / "talk.wav")
    transcript = aitbc(
        "transcribe", "talk.wav", "-m", "tiny.en", "-l", "en", "--receipt", "r.json", "--max-cost", "0.5"
    )
    assert transcript == SENTENCE + "\n"
    assert aitbc("receipts", "verify", "r.json").splitlines()[-1].startswith("valid: ")


def test_a_prompt_becomes_images(workdir: Path, aitbc: Callable[..., str]) -> None:
    """Two images with consecutive seeds, each in a file of its own."""
    options = ("--model", "untrained-diffusion", "--size", "64x64", "--steps", "2", "--seed", "7", "-n", "2")
    answer = json.loads(aitbc("imagine", "a lighthouse", *options, "-o", "out.png", "--json"))
    (file,) = answer["files"]
    assert file["outputs"] == ["out-1.png", "out-2.png"]
    assert [image["seed"] for image in file["results"]["images"]] == [7, 8]
    assert file["results"]["settings"]["quantization"] == "none"
    assert all((workdir / name).read_bytes().startswith(PNG) for name in file["outputs"])


def test_a_question_is_answered(aitbc: Callable[..., str]) -> None:
    """By a real language model, streamed to stdout or as one document."""
    options = ("--model", "smollm2-135m-instruct", "--max-tokens", "8", "--temperature", "0")
    text = aitbc("chat", "Name the capital of France.", *options)
    assert "Paris" in text
    answer = json.loads(aitbc("chat", "Name the capital of France.", *options, "--json"))
    assert answer["results"]["text"].strip() == text.strip()


def test_a_video_is_transcoded_and_a_scene_rendered(workdir: Path, aitbc: Callable[..., str]) -> None:
    """A video in another size, and two frames of a scene."""
    make_video(workdir / "in.mov", seconds=1, size="160x90")
    aitbc("transcode", "in.mov", "out.mp4", "--codec", "h264", "--resolution", "80x46")
    assert (workdir / "out.mp4").stat().st_size > 0
    make_scene(workdir / "scene.blend")
    options = ("--engine", "cycles", "--resolution", "32x18", "--samples", "1")
    aitbc("render", "scene.blend", "--frames", "1-2", *options, "-o", "frames")
    assert sorted(path.name for path in (workdir / "frames").iterdir()) == [
        "frame_0001.png",
        "frame_0002.png",
    ]
    assert (workdir / "frames" / "frame_0002.png").read_bytes().startswith(PNG)


def test_a_python_model_runs(workdir: Path, aitbc: Callable[..., str]) -> None:
    """Its result is printed, and -o downloads the files that it writes."""
    program = "def predict(input, **more):\n    open('seen.txt', 'w').write('x')\n    return {'size': len(open(input, 'rb').read()), **more}\n"
    (workdir / "model.py").write_text(program)
    (workdir / "cat.jpg").write_bytes(b"\xff\xd8\xff")
    printed = json.loads(aitbc("run", "model.py", "--input", "cat.jpg", "--param", "limit=3"))
    assert (printed["size"], printed["limit"]) == (3, 3)
    aitbc("run", "model.py", "--input", "cat.jpg", "--param", "limit=3", "-o", "out")
    assert sorted(path.name for path in (workdir / "out").iterdir()) == ["cat.jpg-seen.txt", "cat.jpg.json"]


def test_ctrl_c_cancels_at_the_coordinator(
    client: AITBCClient, workdir: Path, begin: Callable[..., Any]
) -> None:
    """The running job ends and is not paid for."""
    make_video(workdir / "long.mov", seconds=20, size="1280x720")
    process = begin("transcode", "long.mov", "long.mkv", "--codec", "av1", "--quality", "20")
    assert ends_after(process, 1, " running", signal.SIGINT) == 130
    newest = client.jobs.list(type="video_transcoding", limit=1).jobs[0]
    assert newest.status == "cancelled"
    assert not (workdir / "long.mkv").exists()


def test_all_other_commands_print_json(client: AITBCClient, aitbc: Callable[..., str]) -> None:
    """For jobs, wallet, offers and receipts of a real account."""
    job = client.jobs.list(status="completed", limit=1).jobs[0].job_id
    documents = [
        ("jobs", "list"),
        ("jobs", "show", job),
        ("jobs", "results", job),
        ("wallet", "balance"),
        ("wallet", "transactions"),
        ("offers", "list"),
        ("receipts", "show", job),
    ]
    assert all(isinstance(json.loads(aitbc(*command, "--json")), dict) for command in documents)
    events = [json.loads(line) for line in aitbc("jobs", "watch", job, "--json").splitlines()]
    assert events[-1]["data"]["status"] == "completed"


def test_a_miners_owner_creates_and_withdraws_an_offer(agent: Agent, aitbc: Callable[..., str]) -> None:
    """With the owner's key before the command. In between, a client finds the offer by its id."""
    owner = ("--api-key", str(agent.file["miner_key"]))
    made = json.loads(aitbc(*owner, "offers", "make", "thumbnails", "--price", "0.002", "-n", "2", "--json"))
    assert json.loads(aitbc("offers", "show", made["offer_id"], "--json"))["job_type"] == "thumbnails"
    assert (
        json.loads(aitbc(*owner, "offers", "withdraw", made["offer_id"], "--json"))["offer_id"]
        == made["offer_id"]
    )
