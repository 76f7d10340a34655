"""Thousands of requests made up from the API's own document, by schemathesis, with every kind of key and with none.

All of its checks: no 5xx, no answer that the document does not promise (status, type, schema, headers), nothing accepted
that the document forbids, nobody let in without a key; and ours, that nobody sees a word of another account. A miner
runs the jobs meanwhile.
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

from support.scripted_miner import ScriptedMiner
from support.server import Served, serve

KINDS: dict[str, tuple[int, list[str]]] = {
    "a client's key": (2000, []),
    "a miner's key": (2000, []),
    "a miner's session": (500, ["--include-tag=Miner protocol", "--include-tag=Artifacts"]),
    "no key": (100, ["--phases=examples,fuzzing"]),
}
"""For each kind of key the least number of requests, about two thirds of what there are, and what is tried with it."""

CONFIGURATION = """
max-stream-events = 1

[parameters]
# Nobody waits for an answer here; what waiting does is tested elsewhere.
"header.Prefer" = "respond-async"

[checks.positive_data_acceptance]
# What a schema cannot say: names that must be known, fields that exclude each other, money that must be there.
expected-statuses = ["2xx", "400", "401", "402", "403", "404", "409", "416", "422"]
"""


@contextmanager
def working(miner: ScriptedMiner) -> Iterator[None]:
    """The miner completes whatever it gets, until the end."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for lease in miner.poll(slots=4, wait=0.2):
                miner.complete(lease, {"text": "done", "units": 1})

    thread = threading.Thread(target=work, name="working-miner", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def somebody_elses(served: Served, miner: ScriptedMiner) -> list[str]:
    """Fills an account with a job of each state, files, results and receipts. Returns words that tell of them."""
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}, timeout=30)
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
    waiting = {**body, "miner_id": "miner_a", "timeout_seconds": 60}
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
    """Runs schemathesis, which makes the same requests every time."""
    configuration = directory / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    tests = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(tests),
        "SCHEMATHESIS_HOOKS": "support.foreign_words",
        "FOREIGN_WORDS": json.dumps(words),
    }
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run"]
    options = [
        "--checks=all",
        "--generation-deterministic",
        "--no-color",
        "--request-timeout=20",
        "--no-shrink",
    ]
    return subprocess.run(
        [*program, f"{served.url}/v1/openapi.json", *options, *arguments],
        env=environment, cwd=directory, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Served, ScriptedMiner, list[str]]]:
    """A coordinator with somebody else's things, and a miner of its own for the one who asks."""
    with serve(tmp_path / "data", open_enrolment=True, poll_seconds=0.2) as served:
        theirs, ours = ScriptedMiner(served.url), ScriptedMiner(served.url)
        theirs.register()
        words = somebody_elses(served, theirs)
        ours.register()
        with working(theirs):
            yield served, ours, words


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_no_generated_request_is_answered_otherwise_than_documented(
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
    assert int(found[1]) >= least


def test_a_word_of_somebody_elses_would_be_found(
    world: tuple[Served, ScriptedMiner, list[str]], tmp_path: Path
) -> None:
    """An administrator sees everybody's jobs: there the check fails."""
    served, _, words = world
    only = ["--include-path=/v1/jobs", "--include-method=GET", "--phases=coverage"]
    done = generate(served, words, tmp_path, *only, f"--header=X-API-Key: {served.admin_key}")
    assert done.returncode == 1
    assert "belongs to another account" in done.stdout
