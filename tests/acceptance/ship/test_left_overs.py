"""What one client's job leaves on a miner for the next client: nothing in its answers, its files or its sandbox.

Child processes stay warm between jobs of different clients. The coordinator runs in another process than the miner, so everything
below the miner's directories is the miner's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aitbc import AITBCClient
from support import traces
from support.agents import Agent, running
from support.inputs.media import make_speech, make_video

pytestmark = pytest.mark.acceptance

LLM = "smollm2-135m-instruct"
MARK = "quagga 4417"

HIDING = """
import ctypes, os
from pathlib import Path
def predict(input):
    written = 0
    for directory, below, _ in os.walk("/"):
        below[:] = [name for name in below if directory != "/" or name not in ("proc", "sys")]
        try:
            Path(directory, "quagga-left").write_text("quagga " + "4417")
            written += 1
        except OSError:
            pass
    ctypes.CDLL(None).shmget(0x51DE, 4096, 0o1666)
    return {"written": written}
"""
SEEKING = """
import ctypes, os
from pathlib import Path
MARK = "quagga " + "4417"
def marked(path):
    try:
        is_system = path.is_relative_to("/usr") or path.is_relative_to("/lib")
        return path.name == "quagga-left" or not is_system and path.stat().st_size < 2**20 and MARK.encode() in path.read_bytes()
    except OSError:
        return False
def predict(input):
    files = [Path(directory, name) for directory, _, names in os.walk("/") if directory.split("/")[1] not in ("proc", "sys")
             for name in names]
    environment = [name for name, value in os.environ.items() if MARK in value]
    segment = ctypes.CDLL(None).shmget(0x51DE, 4096, 0)
    return {"seen": [path.name for path in files if path.is_file() and marked(path)], "environment": environment, "segment": segment}
"""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miner's directory for temporary files."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory, scratch: Path) -> Iterator[tuple[Agent, Agent]]:
    """A coordinator, and a miner that joined it."""
    directory = tmp_path_factory.mktemp("left")
    coordinator = Agent(
        directory / "coordinator", "coordinator", "--port", "0", AITBC_COORDINATOR__OPEN_ENROLMENT="true"
    )
    with running(coordinator):
        options = ("--port", "0", "--coordinator", coordinator.url)
        miner = Agent(directory / "miner", "start", *options, TMPDIR=str(scratch))
        with running(miner):
            yield coordinator, miner


@pytest.fixture(scope="module")
def victim(agents: tuple[Agent, Agent]) -> Iterator[AITBCClient]:
    with agents[0].client() as client:
        yield client


@pytest.fixture(scope="module")
def stranger(agents: tuple[Agent, Agent]) -> Iterator[AITBCClient]:
    """A client with another account."""
    coordinator, _ = agents
    with AITBCClient(api_key=coordinator.file["admin_key"], base_url=coordinator.url) as admin:
        account = admin.admin.create_account("stranger")
        admin.admin.credit(account.account_id, "100")
        key = admin.admin.create_key("client", "stranger", account_id=account.account_id)
    with AITBCClient(api_key=key.key, base_url=coordinator.url) as client:
        yield client


def results_of(
    client: AITBCClient, body: Mapping[str, Any], files: Mapping[str, Path | bytes] | None = None
) -> dict[str, Any]:
    """Run a job whose files are parameters of that name, or the archive of a Python model."""
    if body["type"] == "ai-inference":
        job = client.jobs.create(dict(body), dict(files or {}))
    else:
        uploads = {
            name: f"artifact:{client.artifacts.upload(file).artifact_id}"
            for name, file in (files or {}).items()
        }
        job = client.jobs.create({**body, "parameters": {**body["parameters"], **uploads}})
    client.jobs.wait(job.job_id, timeout=300)
    return dict(client.jobs.get_results(job.job_id).results)


def python_model(source: str, text: bytes = b"nothing") -> tuple[dict[str, Any], dict[str, bytes]]:
    body = {
        "type": "ai-inference",
        "model": {"type": "python", "entrypoint": "model.py"},
        "input": {"type": "file"},
    }
    return body, {"model.py": source.encode(), "input.txt": text}


def test_a_python_model_finds_nothing_of_the_model_before_it(
    victim: AITBCClient, stranger: AITBCClient
) -> None:
    """One writes wherever it can; the next one reads everything that it can, and finds only its own input."""
    assert results_of(victim, *python_model(HIDING))["written"] > 0
    results = results_of(stranger, *python_model(SEEKING, MARK.encode()))
    assert (results["seen"], results["environment"], results["segment"]) == (["input"], [], -1)


def test_warm_children_answer_as_if_there_had_been_no_other_client(
    victim: AITBCClient, stranger: AITBCClient, tmp_path: Path
) -> None:
    """The same request before and after another client's requests with settings of every kind."""
    speech = make_speech(tmp_path / "speech.wav")
    plain: dict[str, tuple[dict[str, Any], dict[str, Path | bytes]]] = {
        "llm_inference": ({"model": LLM, "prompt": "What is a tide?", "max_tokens": 24, "temperature": 0.7, "seed": 5}, {}),
        "image_generation": ({"model": "untrained-diffusion", "prompt": "a tide", "size": "64x64", "steps": 2, "seed": 5}, {}),
        "text_embedding": ({"model": "all-minilm-l6-v2", "input": ["What is a tide?"]}, {}),
        "whisper_transcription": ({"model": "tiny.en"}, {"audio_url": speech}),
    }  # fmt: skip
    unusual: dict[str, dict[str, Any]] = {
        "llm_inference": {
            "messages": [{"role": "system", "content": MARK}, {"role": "user", "content": f"Repeat: {MARK}"}],
            "max_tokens": 24, "temperature": 1.9, "top_p": 0.5, "seed": 99, "stop": ["zebra"], "logit_bias": {"5": 50},
        },
        "image_generation": {"prompt": MARK, "negative_prompt": "tide", "size": "128x64", "steps": 3, "seed": 9, "scheduler": "euler_a"},
        "text_embedding": {"input": [MARK, "zebra"]},
        "whisper_transcription": {"initial_prompt": MARK, "temperature": 0.9, "word_timestamps": True},
    }  # fmt: skip

    def answers(client: AITBCClient) -> dict[str, Any]:
        return {
            service: _content(results_of(client, {"type": service, "parameters": parameters}, files))
            for service, (parameters, files) in plain.items()
        }

    undisturbed = answers(stranger)
    for service, parameters in unusual.items():
        usual, files = plain[service]
        merged = {"model": usual["model"], **parameters}
        results_of(victim, {"type": service, "parameters": merged}, files)
    assert answers(stranger) == undisturbed


def test_a_miner_keeps_no_file_of_a_job(
    agents: tuple[Agent, Agent], victim: AITBCClient, scratch: Path, tmp_path: Path
) -> None:
    """Once its results are acknowledged, neither inputs, outputs, prompts nor answers are below the miner's directories."""
    video = make_video(tmp_path / "in.mp4", seconds=1)
    body = {"type": "video_transcoding", "parameters": {"resolution": "64x64"}}
    done = results_of(victim, body, {"input_url": video})
    output = victim.artifacts.download(done["file"]["artifact_id"], tmp_path / "out.mp4").read_bytes()
    question = {"model": LLM, "prompt": f"Repeat exactly: {MARK}", "max_tokens": 12, "temperature": 0}
    answer = results_of(victim, {"type": "llm_inference", "parameters": question})
    needles = {
        "a prompt": MARK.encode(),
        "the question": b"Repeat exactly: quagga",
        "the video": video.read_bytes()[20_000:20_064],
        "the transcoded video": output[len(output) // 2 :][:64],
        "a result": json.dumps(answer)[:64].encode(),
    }
    coordinator, miner = agents
    assert traces.in_files(coordinator.data_dir, {"a prompt": needles["a prompt"]}), (
        "the search finds what is there"
    )
    miner.stop()  # everything that it wrote is in its files
    try:
        assert traces.in_files(miner.data_dir, needles) | traces.in_files(scratch, needles) == set()
        assert not any(needle in miner.log.read_bytes() for needle in needles.values())
    finally:
        miner.start()


def _content(results: dict[str, Any]) -> dict[str, Any]:
    """Return the results without what differs between equal runs: times and identifiers."""
    names = ("text", "embeddings", "segments", "images", "usage")
    return {name: results[name] for name in names if name in results}
