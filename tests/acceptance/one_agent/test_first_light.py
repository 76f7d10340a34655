"""A client submits a job, a real engine runs it on real input, and the receipt verifies offline."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from aitbc import AITBCClient
from aitbc.errors import JobFailed
from aitbc.receipts import verify_bundle
from support.agents import Agent, running
from support.inputs.media import SENTENCE, probe

pytestmark = pytest.mark.acceptance

JOB_SECONDS = 120


def run(client: AITBCClient, route: str, source: Path | bytes, field: str, **body: Any) -> dict[str, Any]:
    """Upload the source, submit the job and wait for it. Returns its final status."""
    stored = client.artifacts.upload(source)
    job = client.services.call(route, {field: f"artifact:{stored.artifact_id}", **body})
    with suppress(JobFailed):
        client.jobs.wait(job["job_id"], timeout=JOB_SECONDS)
    return client.jobs.get(job["job_id"]).to_dict()


def test_a_video_is_transcoded(agent: Agent, client: AITBCClient, video: Path, tmp_path: Path) -> None:
    """Ffprobe reports the requested codec, size and duration."""
    job = run(
        client,
        "ffmpeg/transcode",
        video,
        "input_url",
        output_format="mp4",
        codec="h264",
        resolution="320x180",
    )
    results = client.jobs.get_results(job["job_id"])["results"]
    path = tmp_path / "out.mp4"
    client.artifacts.download(results["file"]["artifact_id"], to=path)
    facts = probe(path)
    picture = next(stream for stream in facts["streams"] if stream["codec_type"] == "video")
    assert (picture["codec_name"], picture["width"], picture["height"]) == ("h264", 320, 180)
    assert abs(float(facts["format"]["duration"]) - 2) < 0.1
    assert (results["codec"], results["width"], results["height"]) == ("h264", 320, 180)
    assert results["units"] > 0
    verification = verify_bundle(
        client.receipts.export(job["job_id"]), agent.file["log_key"], {results["file"]["artifact_id"]: path}
    )
    assert verification.valid, verification.failures


@pytest.mark.system
def test_speech_is_transcribed(agent: Agent, client: AITBCClient, speech: Path) -> None:
    """The transcript equals the sentence."""
    body = {"model": "tiny.en", "language": "en", "output_formats": ["srt", "json"]}
    job = run(client, "whisper/transcribe", speech, "audio_url", **body)
    results = client.jobs.get_results(job["job_id"])["results"]
    assert results["text"].strip() == SENTENCE
    assert results["language"] == "en"
    assert {file["name"].rpartition(".")[2] for file in results["files"]} == {"srt", "json"}
    assert verify_bundle(client.receipts.export(job["job_id"]), agent.file["log_key"]).valid


def test_the_references_python_model_runs(agent: Agent, client: AITBCClient, tmp_path: Path) -> None:
    """The client uploads the model and the input, and the job runs in the sandbox."""
    model = "def predict(input, **parameters):\n    return {'bytes': len(open(input, 'rb').read()), **parameters}\n"
    body = {
        "name": "image-classification",
        "type": "ai-inference",
        "model": {"type": "python", "entrypoint": "model.py", "requirements": []},
        "input": {"type": "image", "format": "jpeg"},
        "output": {"type": "json"},
        "parameters": {"threshold": 3},
    }
    job = client.jobs.create(body, files={"model.py": model.encode(), "cat.jpeg": b"\xff\xd8\xff"})
    done = client.jobs.wait(job["job_id"], timeout=JOB_SECONDS)
    assert done["status"] == "completed", done.get("error")
    results = client.jobs.get_results(job["job_id"])["results"]
    assert (results["bytes"], results["threshold"]) == (3, 3)
    assert verify_bundle(client.receipts.export(job["job_id"]), agent.file["log_key"]).valid


def test_a_waiting_request_returns_the_results(client: AITBCClient, video: Path) -> None:
    """`Prefer: wait=N` delays the response until the job ends."""
    stored = client.artifacts.upload(video)
    body = {"input_url": f"artifact:{stored.artifact_id}", "resolution": "64x64"}
    done = client.services.call("ffmpeg/transcode", body, wait=50)
    assert done["status"] == "completed"
    assert done["results"]["width"] == 64


@pytest.mark.system
def test_progress_is_visible_while_a_job_runs(agent: Agent, client: AITBCClient, video: Path) -> None:
    """The event stream reports the start, rising progress, and the end."""
    stored = client.artifacts.upload(video)
    body = {"input_url": f"artifact:{stored.artifact_id}", "codec": "hevc", "resolution": "1280x720"}
    job = client.services.call("ffmpeg/transcode", body)
    headers = {"Authorization": f"Bearer {agent.file['client_key']}"}
    url = f"{agent.url}/v1/jobs/{job['job_id']}/events"
    with httpx.stream("GET", url, headers=headers, timeout=300) as stream:
        lines = [line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: ")]
    seen = [json.loads(line) for line in lines]
    assert seen[-1]["status"] == "completed"
    progress = [event["progress"] for event in seen if "progress" in event]  # the log's events have none
    assert progress == sorted(progress)
    assert any(0 < value < 100 for value in progress)


@pytest.mark.parametrize(
    ("route", "field", "content", "body"),
    [
        ("ffmpeg/transcode", "input_url", b"This is no video.\n" * 50, {}),
        ("ffmpeg/transcode", "input_url", b"", {}),
        ("ffmpeg/transcode", "input_url", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", {}),
        ("whisper/transcribe", "audio_url", b"", {"model": "tiny.en"}),
        ("whisper/transcribe", "audio_url", b"RIFF\x24\x00\x00\x00WAVE", {"model": "tiny.en"}),
    ],
    ids=["text", "empty", "playlist", "empty-audio", "no-samples"],
)
def test_an_invalid_input_fails_the_job_after_one_attempt(
    client: AITBCClient, route: str, field: str, content: bytes, body: dict[str, Any]
) -> None:
    """The error has a code and a remedy, and the miner is free again."""
    job = run(client, route, content, field, **body)
    assert (job["status"], job["attempts"]) == ("failed", 1)
    assert job["error"]["code"] == "INPUT_INVALID"
    assert len(job["error"]["message"]) > 20


@pytest.mark.system
def test_a_cancelled_job_ends_on_its_miner(agent: Agent, client: AITBCClient, video: Path) -> None:
    """It ends within two seconds, and the next job runs."""
    stored = client.artifacts.upload(video)
    body = {"input_url": f"artifact:{stored.artifact_id}", "codec": "av1", "resolution": "3840x2160"}
    job = client.services.call("ffmpeg/transcode", body)
    headers = {"Authorization": f"Bearer {agent.file['client_key']}"}
    with httpx.stream(
        "GET", f"{agent.url}/v1/jobs/{job['job_id']}/events", headers=headers, timeout=300
    ) as stream:
        next(line for line in stream.iter_lines() if line.startswith("data: ") and '"running"' in line)
    assert client.jobs.cancel(job["job_id"])["status"] == "cancelled"
    job_after = run(client, "ffmpeg/transcode", video, "input_url", resolution="64x64")
    assert job_after["status"] == "completed"
    assert agent.status()["miner"]["slots"]["free"] == 1


def test_any_changed_byte_fails_the_verification(
    agent: Agent, client: AITBCClient, video: Path, tmp_path: Path
) -> None:
    """In the receipt, its statement, the results or the output file; the failure names the part."""
    job = run(client, "ffmpeg/transcode", video, "input_url", resolution="64x64")
    bundle = client.receipts.export(job["job_id"])
    key = agent.file["log_key"]
    artifact_id = bundle["results"]["file"]["artifact_id"]
    data = client.artifacts.get(artifact_id)

    def failures(changed: dict[str, Any], content: bytes = data) -> str:
        verification = verify_bundle(changed, key, {artifact_id: content})
        assert not verification.valid
        return " ".join(verification.failures)

    assert verify_bundle(bundle, key, {artifact_id: data}).valid
    assert artifact_id in failures(bundle, bytes([data[0] ^ 1]) + data[1:])
    wider = {**bundle["results"], "width": bundle["results"]["width"] + 1}
    assert "results" in failures({**bundle, "results": wider})
    receipt = bundle["receipt"]
    for name in ("receipt_id", "job_id", "miner_id", "created_at"):
        changed = {
            **receipt,
            name: receipt[name][:-2] + ("0" if receipt[name][-2] != "0" else "1") + receipt[name][-1],
        }
        assert name in failures({**bundle, "receipt": changed})
    statement = base64.b64decode(receipt["envelope"]["payload"]).replace(b'"price":"', b'"price":"9')
    forged = {**receipt["envelope"], "payload": base64.b64encode(statement).decode()}
    assert "signature" in failures({**bundle, "receipt": {**receipt, "envelope": forged}})
    text = json.dumps(receipt["attestations"])
    for position in range(0, len(text), 7):
        flipped = text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :]
        try:
            attestations = json.loads(flipped)
        except ValueError:
            continue
        if attestations != receipt["attestations"]:
            failures({**bundle, "receipt": {**receipt, "attestations": attestations}})


@pytest.mark.ship
def test_a_second_machine_joins_and_runs_jobs(
    agent: Agent, client: AITBCClient, video: Path, tmp_path: Path
) -> None:
    """With the code that `enroll` prints and a data directory of its own. Without a token, the error has the remedy."""
    refused = subprocess.run(
        [
            Path(sys.executable).with_name("aitbc-agent"),
            "start",
            "--data-dir",
            tmp_path / "stranger",
            "--coordinator",
            agent.url,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert refused.returncode == 1
    assert "aitbc-agent enroll" in refused.stderr
    command = re.search(r"aitbc-agent (join \w+)", agent.cli("enroll").stderr)
    assert command is not None
    joined = Agent(tmp_path / "second", "start", AITBC_MINER__NAME="second")
    # The two commands that `enroll` names, from an empty directory to a finished job.
    joined.cli(*command[1].split())
    with running(joined):
        miner_id = joined.file["miner_id"]
        assert miner_id != agent.file["miner_id"]
        assert joined.file["log_key"] == agent.file["log_key"]
        job = run(client, "ffmpeg/transcode", video, "input_url", resolution="64x64", miner_id=miner_id)
        assert (job["status"], job["miner_id"]) == ("completed", miner_id)
        names = {miner["name"]: miner["online"] for miner in agent.status()["coordinator"]["miners"]}
        assert names["second"] is True
        assert joined.stop() == 0


@pytest.mark.ship
def test_a_miner_without_ffmpeg_does_not_offer_transcoding_and_reports_why(tmp_path: Path) -> None:
    """`status` and `doctor` show the reason; other services work."""
    missing = {"AITBC_RUNNERS__FFMPEG": "/nowhere/ffmpeg"}
    agent = Agent(tmp_path / "data", "start", "--port", "0", **missing)
    with running(agent):
        miner = agent.status()["miner"]
        assert "video_transcoding" not in miner["services"]
        assert "/nowhere/ffmpeg" in " ".join(miner["unavailable"]["video_transcoding"])
        assert "/nowhere/ffmpeg" in agent.cli("status").stdout.replace("\n", " ")
        doctor = agent.cli("doctor", "--json", check=False)
        diagnostics = [
            diagnostic for diagnostic in json.loads(doctor.stdout) if "ffmpeg" in diagnostic["message"]
        ]
        assert any(diagnostic["severity"] != "ok" and diagnostic["remedy"] for diagnostic in diagnostics)


def test_only_the_owner_can_read_the_keys(agent: Agent) -> None:
    """No file with a secret is readable by other users."""
    secrets = ["agent.json", "coordinator/log.key", "coordinator/keys.json", "miner/identity.key"]
    for name in secrets:
        assert (agent.data_dir / name).stat().st_mode & 0o077 == 0, name


def test_a_second_agent_on_the_same_data_directory_is_refused(agent: Agent) -> None:
    second = agent.cli("start", check=False)
    assert second.returncode == 1
    assert "aitbc-agent stop" in second.stderr


@pytest.mark.ship
def test_a_clean_stop_hands_running_jobs_back(tmp_path: Path, video: Path) -> None:
    """The job is queued again, its attempt does not count, and the exit code is 0."""
    agent = Agent(tmp_path / "data", "start", "--port", "0", AITBC_MINER__DRAIN_SECONDS="0")
    with running(agent):
        client = agent.client()
        stored = client.artifacts.upload(video)
        body = {"input_url": f"artifact:{stored.artifact_id}", "codec": "av1", "resolution": "3840x2160"}
        job = client.services.call("ffmpeg/transcode", body)
        headers = {"Authorization": f"Bearer {agent.file['client_key']}"}
        with httpx.stream(
            "GET", f"{agent.url}/v1/jobs/{job['job_id']}/events", headers=headers, timeout=300
        ) as stream:
            next(line for line in stream.iter_lines() if line.startswith("data: ") and '"running"' in line)
        assert agent.stop() == 0
    agent.options = ["coordinator", "--data-dir", str(agent.data_dir), "--port", "0"]
    with running(agent):
        status = agent.client().jobs.get(job["job_id"])
        assert (status["status"], status["attempts"]) == ("submitted", 0)


@pytest.mark.ship
def test_the_command_line_works_with_the_local_agent(agent: Agent, video: Path, tmp_path: Path) -> None:
    """`aitbc`, as installed, finds the running agent: it transcodes, and verifies with the coordinator's key."""
    environment = {**os.environ, "AITBC_DATA_DIR": str(agent.data_dir)}
    command = Path(sys.executable).with_name("aitbc")

    def aitbc(*arguments: str | Path) -> str:
        done = subprocess.run(
            [command, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    receipt = tmp_path / "receipt.json"
    aitbc(
        "transcode",
        video,
        tmp_path / "out.webm",
        "--codec",
        "vp9",
        "--resolution",
        "160x90",
        "--receipt",
        receipt,
    )
    assert probe(tmp_path / "out.webm")["streams"][0]["codec_name"] == "vp9"
    assert "valid" in aitbc("receipts", "verify", receipt, "--artifact", tmp_path / "out.webm")
    listed = json.loads(aitbc("jobs", "list", "--json"))
    assert listed["jobs"][0]["status"] == "completed"
    verified = agent.cli("receipts", "verify", str(receipt))
    assert "valid" in verified.stdout
