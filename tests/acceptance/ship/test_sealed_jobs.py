"""The story of a sealed job, through the real processes: nobody but the client and the miner's child sees what it is about.

Each service runs once. Then the coordinator's and the miner's files, the memory of their process, the metrics and a backup are
searched for the input, the output and the names of files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from aitbc import AITBCClient
from aitbc.canonical import b64decode
from aitbc.errors import Conflict, JobFailed, JobNotCompleted, NotFound, VerificationError
from aitbc.receipts import verify_bundle
from aitbc.statement import parse_statement
from support import traces
from support.agents import Agent, running
from support.inputs.media import make_scene, make_speech, make_video, probe

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("sealing")]

AITBC = Path(sys.executable).with_name("aitbc")
LLM = "smollm2-135m-instruct"
SEED = 1_731_994_201
PROGRAM = """
from pathlib import Path
def predict(input, word):
    print("quagga log line 5541")
    Path("result.bin").write_bytes(b"quagga output 8806" * 9)
    return {"said": Path(input).read_text() + word}
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("sealed") / "data", "start", "--port", "0")
    with running(agent):
        yield agent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's own directory, with its key pair."""
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def client(agent: Agent, home: Path) -> Iterator[AITBCClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AITBC_CONFIG_DIR", str(home))
        with agent.client() as client:
            yield client


@pytest.fixture(scope="module")
def miner(client: AITBCClient) -> str:
    """The miner's id, once it has published its key."""
    for _ in range(600):
        for one in client.marketplace.miners().miners:
            with suppress(NotFound):
                return client.miners.encryption_key(one.miner_id).miner_id
        time.sleep(0.1)  # until the heartbeat after the registration
    raise AssertionError("the miner published no key")


def aitbc(agent: Agent, home: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "AITBC_BASE_URL": agent.url,
        "AITBC_API_KEY": agent.file["client_key"],
        "AITBC_CONFIG_DIR": str(home),
        "XDG_STATE_HOME": str(home / "state"),
    }
    done = subprocess.run(
        [AITBC, *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        env=environment,
        check=False,
        cwd=home,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_the_story_of_a_sealed_job(
    agent: Agent, client: AITBCClient, home: Path, miner: str, tmp_path: Path
) -> None:
    """A client seals a question and a video with the command; it reads the answers, and the coordinator's side has no trace of them."""
    video = make_video(tmp_path / "quagga-holiday-1187.mp4", seconds=1)
    question = "Repeat exactly: quagga zebra 4417 hyrax"
    chat = aitbc(agent, home, "chat", "--seal", "--model", LLM, "--max-tokens", "24", question)
    assert "Sealed to" in chat.stderr
    assert "owner of that machine can" in chat.stderr
    output = home / "out.mkv"
    transcode = aitbc(agent, home, "transcode", "--seal", str(video), str(output))
    assert "the cheapest miner with a key" in transcode.stderr
    assert probe(output)["format"]["format_name"].startswith("matroska")

    jobs = client.jobs.list(limit=10).jobs
    assert {job.name for job in jobs} == {"llm-inference", "video-transcoding"}  # no prompt, no file name
    answer = chat.stdout.strip()
    middle = output.stat().st_size // 2
    needles = {
        "the question": question.encode(),
        "a word of the question": b"quagga zebra 4417",
        "the video's name": b"quagga-holiday-1187",
        "the video": video.read_bytes()[20_000:20_064],
        "the transcoded video": output.read_bytes()[middle : middle + 64],
        **({"the answer": answer[:60].encode()} if len(answer) > 20 else {}),
    }
    assert len(needles) >= 5
    _search(agent, tmp_path, needles)

    for job in jobs:
        bundle = client.receipts.export(job.job_id)
        assert verify_bundle(bundle, agent.file["log_key"]).valid
        predicate = json.loads(b64decode(bundle["receipt"]["envelope"]["payload"]))["predicate"]
        assert "evidence_sha256" not in predicate  # evidence for audits has the tokens of the answer in clear
        plain = client.jobs.get_results(job.job_id)
        assert "sealed" not in plain.results
        assert "sealed" in client.jobs.get_results(job.job_id, opened=False).results
    other = aitbc(agent, tmp_path, "jobs", "results", jobs[0].job_id, check=False)
    assert other.returncode != 0
    assert "sealed with another key" in other.stderr


def test_every_service_takes_sealed_jobs(
    agent: Agent, client: AITBCClient, miner: str, tmp_path: Path
) -> None:
    """Whisper, pictures, Blender, embeddings and Python models: results and files arrive, and nothing of them stays behind."""
    speech = make_speech(tmp_path / "quagga-speech.wav")
    scene = make_scene(tmp_path / "quagga-scene.blend")
    program, text = tmp_path / "model.py", tmp_path / "quagga-input.txt"
    program.write_text(PROGRAM)
    text.write_text("quagga input 3329")
    made = {
        "whisper_transcription": ({"model": "tiny.en", "output_formats": ["srt"]}, {"audio_url": speech}),
        "image_generation": (
            {
                "prompt": "a quagga at a lighthouse 9920",
                "model": "untrained-diffusion",
                "size": "64x64",
                "steps": 2,
                "seed": SEED,
            },
            {},
        ),
        "blender_rendering": (
            {"engine": "cycles", "resolution_x": 64, "resolution_y": 36, "samples": 1},
            {"blend_file_url": scene},
        ),
        "text_embedding": (
            {"model": "all-minilm-l6-v2", "input": ["a quagga asleep in the hay 4471", "quagga zebra"]},
            {},
        ),
    }
    jobs = {
        service: client.jobs.create({"type": service, "parameters": parameters}, files, seal=miner)
        for service, (parameters, files) in made.items()
    }
    jobs["ai_inference"] = client.jobs.create(
        {
            "type": "ai-inference",
            "model": {"type": "python", "entrypoint": "model.py"},
            "input": {"type": "file"},
            "parameters": {"word": " quagga word 6672"},
        },
        {"model.py": program, "quagga-input.txt": text},
        seal=miner,
    )
    needles: dict[str, bytes] = {
        "the prompt": b"a quagga at a lighthouse 9920",
        "the embedded text": b"a quagga asleep in the hay 4471",
        "the program": b"quagga log line 5541",
        "the input": b"quagga input 3329",
        "the parameter": b"quagga word 6672",
        "a file's name": b"quagga-s",
        "the output": b"quagga output 8806",
        "the speech": speech.read_bytes()[30_000:30_064],
        "the scene": scene.read_bytes()[4000:4064],
    }
    for service, job in jobs.items():
        try:
            results = client.jobs.get_results(job.job_id)
        except JobNotCompleted as error:
            raise AssertionError(f"{service}: {client.jobs.log(job.job_id)}") from error
        for file in results.output_files():
            target = client.artifacts.download(file.artifact_id, tmp_path / f"{service}-{file.name}")
            assert target.stat().st_size == file.size
            if file.size > 400:
                middle = file.size // 2
                needles[f"{service}'s {file.name}"] = target.read_bytes()[middle : middle + 48]
        if service == "whisper_transcription":
            needles["the transcript"] = results.results["text"].encode()[-40:]
            assert "coordinator" in results.results["text"]
        if service == "text_embedding":
            vectors = results.results["embeddings"]
            assert [sum(number * number for number in vector) for vector in vectors] == [
                pytest.approx(1, abs=1e-3)
            ] * 2
            needles["a vector"] = json.dumps(vectors[0][:4])[1:-1].encode()
            needles["a vector, packed"] = json.dumps(vectors[0][:4], separators=(",", ":"))[1:-1].encode()
        if service == "ai_inference":
            assert results.results["said"] == "quagga input 3329 quagga word 6672"
            assert "quagga log line 5541" in str(client.jobs.log(job.job_id))
    _search(agent, tmp_path, needles)


def test_what_was_sealed_fails_when_it_is_changed_or_used_again(
    agent: Agent, client: AITBCClient, miner: str
) -> None:
    """A changed byte, another job and a job that runs again: the miner refuses, the client pays nothing, and the reason is said."""
    body = client.jobs.seal({"type": "llm-inference", "parameters": {"model": LLM, "prompt": "quagga 5150", "max_tokens": 4}}, miner_id=miner)  # fmt: skip
    changed = body["sealed"]["ciphertext"]
    changed = ("A" if changed[40] != "A" else "B").join([changed[:40], changed[41:]])
    for wrong, code in (
        ({**body["sealed"], "ciphertext": changed}, "SEALED_INVALID"),
        ({**body["sealed"], "request_id": "0" * 32}, "SEALED_INVALID"),
    ):
        job = client.jobs.create({**body, "sealed": wrong})
        with pytest.raises(JobFailed) as failed:
            client.jobs.wait(job.job_id, timeout=120)
        assert failed.value.code == code
        assert client.jobs.get(job.job_id).cost == "0"
    fresh = client.jobs.seal({"type": "llm-inference", "parameters": {"model": LLM, "prompt": "quagga 5151", "max_tokens": 4}}, miner_id=miner)  # fmt: skip
    first, second = client.jobs.create(fresh), client.jobs.create(fresh)
    codes = []
    for job in (first, second):
        try:
            client.jobs.wait(job.job_id, timeout=120)
        except JobFailed as error:
            codes.append(error.code)
    assert codes == ["SEALED_REPLAYED"]
    with pytest.raises(Conflict, match="is sealed"):
        client.jobs.rerun(first.job_id)

    job = client.jobs.create({"type": "llm-inference", "parameters": {"model": LLM, "prompt": "Hello", "max_tokens": 4}}, seal=miner)  # fmt: skip
    client.jobs.wait(job.job_id, timeout=120)
    results = client.jobs.get_results(job.job_id, opened=False).results
    sealed = client._session.sealing.openers
    other = next(iter(sealed.values()))
    with pytest.raises(VerificationError):
        other.results(results)  # the answer of another job
    payload = parse_statement(_payload(client.receipts.get(job.job_id)))
    opened = client.jobs.get_results(job.job_id)
    assert opened.results["usage"]
    assert payload.sealed is not None
    assert payload.sealed.results == sealed[job.job_id].results(results).digest


def _payload(receipt: object) -> bytes:
    return b64decode(receipt["envelope"]["payload"])  # type: ignore[index]


def _search(agent: Agent, tmp_path: Path, needles: dict[str, bytes]) -> None:
    assert agent.process is not None
    plain = agent.client()
    plain.jobs.create({"type": "llm-inference", "name": "visible 7219", "parameters": {"model": LLM, "prompt": "visible 7219", "max_tokens": 1}})  # fmt: skip
    control = {"a job in clear": b"visible 7219"}
    assert traces.in_files(agent.data_dir, control)
    assert traces.in_memory(agent.process.pid, control)

    backup = tmp_path / "backup"
    agent.cli("backup", str(backup))
    assert traces.in_files(backup, control)
    metrics = httpx.get(
        f"{agent.url}/metrics", headers={"Authorization": f"Bearer {agent.file['admin_key']}"}
    )
    found = traces.in_files(agent.data_dir, needles) | traces.in_files(backup, needles)
    found |= {name for name, needle in needles.items() if needle in metrics.content + agent.log.read_bytes()}
    found |= {f"{name} in memory" for name in traces.in_memory(agent.process.pid, needles)}
    assert metrics.status_code == 200
    assert found == set()
