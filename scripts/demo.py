"""Shows the whole life of two real jobs on one machine, and that nobody has to be trusted about them afterwards.

An agent is started as its owner would start it. A client uploads a video and a spoken sentence, has the one transcoded
and the other transcribed, and looks at what came back. Then the agent is stopped, and with nothing left running but this
script both receipts are verified from files, by the command that a stranger would use. Whatever is not as it should be
ends the demo with status 1.

Inputs, results, receipts and the agent's log stay in build/demo.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from aitbc import AITBCClient, AITBCError, Job
from demo_agent import DemoError, environment, running_agent, stop

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "demo"

SERVICES = ("video_transcoding", "whisper_transcription")
SENTENCE = (
    "Please transcribe this short message and send the result back to the coordinator before noon on Friday."
)
SOURCE_SIZE = "640x360"
TARGET_SIZE = "320x180"
VIDEO_SECONDS = 3
DURATION_TOLERANCE_SECONDS = 0.1

JOB_SECONDS = 180
PROGRAM_SECONDS = 60
LOG_LINE_LENGTH = 300

NOT_VALID = 3
"""The status with which `aitbc receipts verify` refuses a receipt."""

console = Console(highlight=False, soft_wrap=True)


@dataclass(slots=True)
class Work:
    """One job of the demo with what came of it. `files` are its outputs on disk by artifact id."""

    title: str
    job_id: str
    results: Mapping[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    bundle: Path = Path()


def main() -> int:
    """Run the demo: 0 if everything is as it should be, 1 if not."""
    # Ended from outside, the demo still stops its agent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    try:
        run()
    except (DemoError, AITBCError) as error:
        console.print(f"\n[bold red]The demo failed:[/] {escape(str(error))}")
        show_agent_log()
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted; the agent is stopped.")
        return 130
    return 0


def run() -> None:
    """All steps, one after the other. Raises `DemoError` or the SDK's errors at the first that fails."""
    started = time.monotonic()
    headline("An agent: coordinator and miner in one process")
    with running_agent(agent_log(), SERVICES) as (process, agent):
        log_key().write_text(agent["log_key"] + "\n")
        fact("address", agent["url"])
        fact("miner", agent["miner_id"])

        headline("A client: something to watch and something to hear")
        video, speech = make_video(), make_speech()

        headline("Two jobs")
        with AITBCClient(api_key=agent["client_key"], base_url=agent["url"]) as client:
            works = submit(client, video, speech)
            watch(client, works)
            for work in works:
                collect(client, work)
        transcoding, transcription = works
        check_video(transcoding, video)
        check_transcript(transcription)
        stop(process)

    headline("The receipts, with the agent gone")
    fact("agent", "stopped, exit status 0")
    for work in works:
        verify(work)
    console.print(
        f"\n[bold green]All is as it should be[/] after {time.monotonic() - started:.1f} s; "
        f"inputs, results and receipts are in {FOLDER.relative_to(ROOT)}."
    )


# --- Inputs ---------------------------------------------------------------------------------------------------------


def make_video() -> Path:
    """A moving test picture with a tone."""
    path = FOLDER / "video.mp4"
    picture = f"testsrc2=size={SOURCE_SIZE}:rate=25:duration={VIDEO_SECONDS}"
    tone = f"sine=frequency=440:duration={VIDEO_SECONDS}"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone]
    program("ffmpeg", "-v", "error", *inputs, "-pix_fmt", "yuv420p", str(path))
    fact(path.name, f"{SOURCE_SIZE}, {VIDEO_SECONDS} s, {kilobytes(path)}")
    return path


def make_speech() -> Path:
    """The sentence, spoken, as speech recognition likes it: 16 kHz, one channel."""
    spoken, path = FOLDER / "spoken.wav", FOLDER / "speech.wav"
    program("espeak-ng", "-v", "en-us", "-s", "150", "-w", str(spoken), SENTENCE)
    program("sox", str(spoken), "-r", "16000", "-c", "1", str(path))
    spoken.unlink()
    fact(path.name, f"one spoken sentence, {kilobytes(path)}")
    return path


def program(*command: str) -> str:
    """Run a program; its output. Raises `DemoError` with its words if it fails."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PROGRAM_SECONDS)
    except subprocess.CalledProcessError as error:
        raise DemoError(f"{command[0]} ended with status {error.returncode}: {error.stderr}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DemoError(f"{command[0]} could not be run: {error}") from error
    return done.stdout


# --- Jobs -----------------------------------------------------------------------------------------------------------


def submit(client: AITBCClient, video: Path, speech: Path) -> tuple[Work, Work]:
    """Upload both inputs and create a job for each."""
    transcoding = client.services.transcode(video, output_format="mp4", codec="h264", resolution=TARGET_SIZE)
    transcription = client.services.transcribe(speech, model="tiny.en", language="en")
    return (
        Work(f"video_transcoding to {TARGET_SIZE}", transcoding.job_id),
        Work("whisper_transcription, tiny.en", transcription.job_id),
    )


def watch(client: AITBCClient, works: tuple[Work, ...]) -> None:
    """Wait for the jobs and show how they get on: moving bars on a terminal, a line a change elsewhere."""
    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<32}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[status]}"),
        console=console,
    )
    with bars if console.is_terminal else nullcontext():
        shows = [bar(bars, work) if console.is_terminal else lines(work) for work in works]
        for work, show in zip(works, shows, strict=True):
            client.jobs.wait(work.job_id, JOB_SECONDS, show)


def bar(bars: Progress, work: Work) -> Callable[[Job], None]:
    """Shows a job as a moving bar."""
    task = bars.add_task(work.title, total=100, status="submitted")

    def update(job: Job) -> None:
        percent = 100 if job.status == "completed" else job.progress or 0
        bars.update(task, completed=percent, status=job.status)

    return update


def lines(work: Work) -> Callable[[Job], None]:
    """Shows a job as a line whenever it changes."""
    last: tuple[str, int | float | None] | None = None

    def update(job: Job) -> None:
        nonlocal last
        if (job.status, job.progress) != last:
            last = (job.status, job.progress)
            fact(work.title, job.status if job.status != "running" else f"running, {job.progress or 0:g} %")

    return update


def collect(client: AITBCClient, work: Work) -> None:
    """Fetch a job's results, its output files and its receipt's bundle."""
    answer = client.jobs.get_results(work.job_id)
    work.results = answer.results
    for file in answer.output_files():
        # The name is the miner's word: only its last part may say where the file goes.
        path = FOLDER / f"{work.job_id}-{Path(file.name).name}"
        work.files[file.artifact_id] = client.artifacts.download(file.artifact_id, path)
    work.bundle = FOLDER / f"{work.job_id}.receipt.json"
    work.bundle.write_text(json.dumps(client.receipts.export(work.job_id), indent=2) + "\n")


# --- Checks ---------------------------------------------------------------------------------------------------------


def check_video(work: Work, source: Path) -> None:
    """Compare what ffprobe says of the transcoded video with what was asked for."""
    path = work.files[work.results["file"]["artifact_id"]]
    video, duration = probe(path)
    size = f"{video['width']}x{video['height']}"
    expect(video["codec_name"] == "h264", f"the video's codec is {video['codec_name']}, not h264.")
    expect(size == TARGET_SIZE, f"the video has {size}, not {TARGET_SIZE}.")
    _, wanted = probe(source)
    expect(
        abs(duration - wanted) <= DURATION_TOLERANCE_SECONDS,
        f"the video lasts {duration:.2f} s, not {wanted:.2f} s.",
    )
    fact("video", f"{video['codec_name']}, {size}, {duration:.2f} s, {kilobytes(path)}")


def probe(path: Path) -> tuple[dict[str, Any], float]:
    """The first video stream of a file as ffprobe describes it, and the file's duration in seconds."""
    answer = json.loads(
        program("ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path))
    )
    streams = [stream for stream in answer["streams"] if stream["codec_type"] == "video"]
    expect(bool(streams), f"{path.name} has no video in it.")
    return streams[0], float(answer["format"]["duration"])


def check_transcript(work: Work) -> None:
    """Compare the transcript with what was said."""
    text = " ".join(work.results["text"].split())
    expect(text == SENTENCE, f"the transcript is {text!r}, but what was said is {SENTENCE!r}.")
    fact("transcript", f"“{text}” (word for word)")


def verify(work: Work) -> None:
    """Verify a receipt from files alone, as a stranger would; a falsified one must not pass."""
    status, outcome = verification(work.bundle, *work.files.values())
    expect(status == 0, f"the receipt of {work.job_id} is not valid: {outcome.get('failures')}")

    falsified = FOLDER / "falsified.receipt.json"
    bundle = json.loads(work.bundle.read_text())
    bundle["results"]["units"] = 1_000_000
    falsified.write_text(json.dumps(bundle))
    status, _ = verification(falsified)
    expect(status == NOT_VALID, f"a falsified receipt was not refused (status {status}).")
    falsified.unlink()

    fact(
        work.title,
        f"[bold green]verified[/]: {len(outcome['checks'])} checks, {len(work.files)} output file(s); "
        "a falsified copy is refused",
    )


def verification(bundle: Path, *files: Path) -> tuple[int, dict[str, Any]]:
    """The exit status of `aitbc receipts verify` and what it says of a bundle and the output files."""
    command = [str(Path(sys.executable).parent / "aitbc"), "receipts", "verify", str(bundle), "--json"]
    command += ["--log-key", log_key().read_text().strip()]
    for file in files:
        command += ["--artifact", str(file)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=PROGRAM_SECONDS, env=environment()
    )
    try:
        outcome: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise DemoError(f"aitbc receipts verify ended with status {done.returncode}: {done.stderr}") from None
    return done.returncode, outcome


def expect(holds: bool, otherwise: str) -> None:
    """Raise `DemoError` with `otherwise` unless `holds`."""
    if not holds:
        raise DemoError(otherwise)


# --- Words ----------------------------------------------------------------------------------------------------------


def headline(text: str) -> None:
    """Begin a step."""
    console.print(f"\n[bold]{text}[/]")


def fact(name: str, text: str) -> None:
    """Show something that happened."""
    console.print(f"  {name:<32} {text}")


def agent_log() -> Path:
    """Where the agent's output goes."""
    return FOLDER / "agent.log"


def log_key() -> Path:
    """Where the coordinator's public log key is kept: all that a stranger needs beside a receipt."""
    return FOLDER / "log_key.txt"


def show_agent_log() -> None:
    """Print the last lines of the agent's log, where there is one."""
    if agent_log().exists() and (text := agent_log().read_text(errors="replace")):
        console.print(f"\nThe end of {agent_log().relative_to(ROOT)}:")
        for line in text.splitlines()[-30:]:
            console.print(line[:LOG_LINE_LENGTH], markup=False)


def kilobytes(path: Path) -> str:
    """A file's size for people."""
    return f"{path.stat().st_size / 1000:.0f} kB"


if __name__ == "__main__":
    sys.exit(main())
