"""Thousands of requests that schemathesis generates from the OpenAPI document, with every kind of key and without one.

All of its checks apply: no 5xx, no undocumented answer (status, type, schema, headers), no invalid request accepted, no call
without a key. Our own check is that no answer contains data of another account. Meanwhile, a miner runs the jobs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients.openai_document import DOCUMENT
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served, serve

pytestmark = pytest.mark.chaos

KINDS: dict[str, tuple[int, list[str]]] = {
    "a client's key": (2000, []),
    "a miner's key": (150, ["--phases=examples,fuzzing,stateful"]),
    "a miner's session": (500, ["--include-tag=Miner protocol", "--include-tag=Artifacts"]),
    "no key": (100, ["--phases=examples,fuzzing"]),
}
"""For each kind of key the minimum number of requests, about two thirds of the usual number, and further arguments.

Most calls treat both keys alike, so that the client's alone takes part in the systematic phase, coverage."""

LEAST_OF_OPENAI = 1000
"""The minimum number of requests from OpenAI's document."""

RUN_SECONDS = 900
"""Limit of one run of schemathesis, several times what it takes."""

CONFIGURATION = """
max-stream-events = 1

[parameters]
# Waiting is disabled here and tested elsewhere.
"header.Prefer" = "respond-async"

[checks.positive_data_acceptance]
# Conditions that a schema cannot express: known names, exclusive fields, sufficient balance, the number of all values, tus.
expected-statuses = ["2xx", "400", "401", "402", "403", "404", "409", "410", "412", "413", "415", "416", "422", "423", "460"]

[checks.negative_data_rejection]
# tus checks its version first.
expected-statuses = ["400", "401", "403", "404", "405", "409", "410", "412", "413", "415", "422"]
"""


@contextmanager
def working(served: Served, miner: ScriptedMiner) -> Iterator[None]:
    """Complete every job until the end, and cancel jobs that the miner cannot run after a second or two."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for lease in miner.poll(slots=4, wait=0.2):
                stored = miner.store(b"a picture", "image/png", lease)
                if stored.is_success:  # else it was cancelled meanwhile
                    picture = {**stored.json(), "name": "picture.png"}
                    picture["url"] = f"/v1/artifacts/{picture['artifact_id']}"
                    miner.complete(lease, results(lease, picture))

    def give_up() -> None:
        waited: set[str] = set()
        with httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key}, timeout=120) as admin:
            while not stop.wait(1):
                waiting = admin.get("/v1/jobs", params={"status": "submitted", "limit": 500}).json()["jobs"]
                found = {job["job_id"] for job in waiting}
                for job_id in waited & found:
                    admin.delete(f"/v1/jobs/{job_id}")
                waited = found

    threads = [
        threading.Thread(target=target, name=target.__name__, daemon=True) for target in (work, give_up)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def results(lease: dict[str, Any], picture: dict[str, Any]) -> dict[str, Any]:
    """Results of the lease's service."""
    asked = lease["spec"]["parameters"]
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    images = [
        {**picture, "seed": seed, "width": 512, "height": 512} for seed in range(asked.get("num_images", 1))
    ]
    by_service: dict[str, dict[str, Any]] = {
        "llm_inference": {
            "text": "done",
            "finish_reason": "stop",
            "usage": usage,
            "tokens": [1],
            "pieces": ["a"],
        },
        "whisper_transcription": {
            "text": "done",
            "language": "en",
            "duration": 1,
            "segments": [],
            "files": [{**picture, "name": f"speech.{kind}"} for kind in ("srt", "vtt")],
        },
        "image_generation": {"images": images},
        "text_embedding": {
            "embeddings": [[0.6, 0.8]] * len(asked.get("input", ())),
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        },
        "speech_synthesis": {
            "audio": {**picture, "name": "speech.mp3"},
            "duration": 1,
            "sample_rate": 24_000,
            "voice": "a",
            "segments": [],
        },
        "text_reranking": {
            "scores": [0.5] * len(asked.get("documents", ())),
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        },
    }
    return {**by_service.get(lease["service"], {}), "processing_time": 0.1, "units": 1}


def other_accounts_data(served: Served, miner: ScriptedMiner) -> list[str]:
    """Fill another account with a job of each state, files, results and receipts. Return words that occur in them."""
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}, timeout=120)
    word = "xyzzy-plugh"
    artifact = other.post("/v1/artifacts", content=f"{word} file".encode()).json()["artifact_id"]
    body = {
        "audio_url": f"artifact:{artifact}",
        "model": "base",
        "name": f"{word} name",
        "initial_prompt": word,
    }
    jobs = [other.post("/v1/services/whisper/transcribe", json=body).json() for _ in range(2)]
    done, failed = miner.poll(slots=4)
    assert miner.complete(done, {"text": f"{word} text", "units": 1}).status_code == 200
    miner.job(failed, "fail", kind="fail", code="INPUT_INVALID", message=f"{word} is no sound")
    waiting = {**body, "miner_id": "miner_a", "timeout_seconds": 60, "wait": True}
    jobs += [other.post("/v1/services/whisper/transcribe", json=waiting).json() for _ in range(2)]
    assert other.delete(f"/v1/jobs/{jobs[-1]['job_id']}").status_code == 200
    receipt = other.get(f"/v1/receipts/{done['job_id']}").json()
    account = other.get("/v1/wallet").json()["account_id"]
    other.close()
    suffixes = [job["job_id"].removeprefix("job_") for job in jobs]
    return [word, *suffixes, artifact.removeprefix("sha256:"), receipt["signature"]["sig"], account]


def generate(
    served: Served, words: list[str], directory: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Generate requests from our own document."""
    configuration = directory / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    options = [
        # It would revoke the key of all other requests; tests/contract/http/test_keys.py covers it.
        "--exclude-operation-id=keys_log_out",
        # A path with control characters is refused before anything knows that the error should have Ollama's form.
        "--exclude-operation-id=ollama_upload",
        "--checks=all",
    ]
    # Schemathesis itself waits 10 s for the document, which a busy machine may exceed.
    document = directory / "openapi.json"
    document.write_bytes(httpx.get(f"{served.url}/v1/openapi.json", timeout=120).content)
    return schemathesis(
        "support.foreign_words",
        configuration,
        document,
        "--url",
        served.url,
        *options,
        *arguments,
        FOREIGN_WORDS=json.dumps(words),
    )


def schemathesis(
    hooks: str, configuration: Path, document: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis, which generates the same requests every time."""
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run", document]
    options = ["--generation-deterministic", "--no-color", "--request-timeout=20", "--no-shrink"]
    environment = {
        **os.environ,
        **variables,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "SCHEMATHESIS_HOOKS": hooks,
    }
    return subprocess.run(
        [*program, *options, *arguments],
        env=environment, cwd=document.parent, capture_output=True, text=True, timeout=RUN_SECONDS, check=False,
    )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Served, ScriptedMiner, list[str]]]:
    """A coordinator with another account's data, and a miner of the caller."""
    settings: dict[str, Any] = {"poll_seconds": 0.2, "rate_limits": {"enabled": False}}
    with serve(tmp_path / "data", open_enrolment=True, **settings) as served:
        theirs, ours = ScriptedMiner(served.url), ScriptedMiner(served.url)
        offered = capabilities()
        for service in offered["services"].values():
            service["downloadable"] = True
        theirs.register(capabilities=offered)
        words = other_accounts_data(served, theirs)
        ours.register()
        with working(served, theirs):
            yield served, ours, words


@pytest.mark.parametrize("kind", KINDS)
def test_every_generated_request_is_answered_as_documented(
    world: tuple[Served, ScriptedMiner, list[str]], tmp_path: Path, kind: str
) -> None:
    served, miner, words = world
    secrets: dict[str, Any] = {
        "a client's key": served.client_key,
        "a miner's key": miner.registration["api_key"],
        "a miner's session": miner.registration["session_token"],
    }
    headers = [f"--header=Authorization: Bearer {secrets[kind]}"] if kind in secrets else []
    least, chosen = KINDS[kind]
    done = generate(served, words, tmp_path, "--max-examples=2", *chosen, *headers)
    assert done.returncode == 0, done.stdout[-20_000:]
    found = re.search(r"(\d+) generated", done.stdout)
    assert found is not None, done.stdout[-2000:]
    assert int(found[1]) >= least, found[1]


def test_the_check_finds_another_accounts_data(
    world: tuple[Served, ScriptedMiner, list[str]], tmp_path: Path
) -> None:
    """An administrator sees the jobs of all accounts, so the check must fail."""
    served, _, words = world
    only = ["--include-path=/v1/jobs", "--include-method=GET", "--phases=coverage"]
    done = generate(served, words, tmp_path, *only, f"--header=X-API-Key: {served.admin_key}")
    assert done.returncode == 1
    assert "belongs to another account" in done.stdout


@pytest.mark.needs("openai")
def test_requests_from_openais_own_document_are_answered_in_its_forms(
    world: tuple[Served, ScriptedMiner, list[str]], tmp_path: Path
) -> None:
    """No server error, and no answer outside of the schema that OpenAI publishes."""
    served, _, _ = world
    configuration, document = tmp_path / "schemathesis.toml", tmp_path / "openai.json"
    configuration.write_text("max-stream-events = 1\n")
    document.write_text(json.dumps(DOCUMENT))
    done = schemathesis(
        "support.clients.openai_document",
        configuration,
        document,
        "--url",
        f"{served.url}/v1",
        f"--header=Authorization: Bearer {served.client_key}",
        "--checks=not_a_server_error,response_schema_conformance,errors_have_openais_form",
        "--phases=coverage,fuzzing",
        "--mode=positive",
        "--max-examples=12",
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None, done.stdout[-2000:]
    assert int(generated[1]) >= LEAST_OF_OPENAI, generated[1]
