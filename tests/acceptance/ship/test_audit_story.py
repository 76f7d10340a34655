"""The story of a cheat, from its first lie to its lost pay: two auditors are real agents, which run the job again in their sandboxes.

One cheat is a script that computes nothing. The others are agents too: one whose ffmpeg does less than it is asked for, and one whose
language model has fewer bits than it states.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from platformdirs import user_cache_path

from aitbc import AITBCClient
from aitbc.canonical import canonical_json, sha256_hex
from support.agents import Agent, running
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.inputs.language_models import NAME
from support.inputs.media import make_video

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("audits")]

SERVICE = "ai_inference"
LIMIT_SECONDS = 120
MODEL = "def predict(input, **parameters):\n    return {'answer': parameters['a'] * parameters['b']}\n"
EVIDENCE = {"python": platform.python_version(), "packages": {}}
SETTINGS = {"enforce": True, "second_opinion_seconds": 0, "least_share": 1, "recheck_share": 0}
HONEST, HALVED, CROPPED, COARSE = 23, 20, 21, 22
"""Qualities that clients ask for; the cheat's ffmpeg is honest for the first only."""
CHEATING_FFMPEG = f"""#!/bin/sh
case " $* " in
  *" -crf {HALVED} "*) lie="-vf scale=80:40,scale=160:80" ;;
  *" -crf {CROPPED} "*) lie="-vf crop=144:72,scale=160:80" ;;
  *" -crf {COARSE} "*) lie="-crf 40" ;;
esac
count=$#
left=$count
for word; do
  [ $left -gt 1 ] || set -- "$@" $lie
  set -- "$@" "$word"
  left=$((left - 1))
done
shift $count
exec {shutil.which("ffmpeg")} "$@"
"""


class Liar(ScriptedMiner):
    """A miner that computes nothing, and signs an answer that looks right."""

    def lie(self, lease: dict[str, Any]) -> None:
        results = {"answer": 41, "units": 1, "processing_time": 1.0}
        body = self.result_body(
            lease,
            results,
            device_kind="cpu",
            device_name="CPU",
            device_uuid=None,
            evidence_sha256=sha256_hex(canonical_json(EVIDENCE)),
        )
        self.http.post(
            f"/jobs/{lease['job_id']}/result", json={**body, "evidence": EVIDENCE}
        ).raise_for_status()


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A coordinator that two auditors have joined."""
    folder = tmp_path_factory.mktemp("audits")
    settings = {
        f"AITBC_COORDINATOR__AUDITS__{name.upper()}": json.dumps(value) for name, value in SETTINGS.items()
    }
    agent = Agent(
        folder / "coordinator", "coordinator", "--port", "0",
        AITBC_COORDINATOR__OPEN_ENROLMENT="true", AITBC_COORDINATOR__FEE_PERCENT="10", **settings,
    )  # fmt: skip
    with running(agent), ExitStack() as stack:
        for name in ("first", "second"):
            auditor = Agent(
                folder / name,
                "start",
                "--coordinator",
                agent.url,
                AITBC_MINER__AUDITOR="true",
                AITBC_MINER__NAME=name,
            )
            stack.enter_context(running(auditor))
        yield agent


@pytest.fixture
def cheat(coordinator: Agent, tmp_path: Path) -> Iterator[Agent]:
    """An ordinary miner, except for its ffmpeg."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(CHEATING_FFMPEG)
    program.chmod(0o755)
    agent = Agent(
        tmp_path / "cheat", "start", "--coordinator", coordinator.url,
        AITBC_MINER__NAME="cheat", AITBC_RUNNERS__FFMPEG=str(program),
    )  # fmt: skip
    with running(agent):
        yield agent


def test_a_cheat_is_found_and_loses_its_pay(coordinator: Agent) -> None:
    liar = Liar(coordinator.url)
    able = capabilities(gpus=[])
    able["services"] = {SERVICE: able["services"][SERVICE]}
    liar.register(capabilities=able).raise_for_status()
    with coordinator.client() as client:
        before = Decimal(client.wallet.get()["balance"])
        jobs = [lied_about(client, liar) for _ in range(3)]
        assert client.jobs.get_results(jobs[0])["results"]["answer"] == 41
        found = [audit_of(coordinator, job_id) for job_id in jobs]
        # Two auditors have computed 42, twice each; nothing is left of the pay.
        assert {(audit["verdict"], audit["where"]) for audit in found} == {("fail", "results.answer")}
        assert max(audit["probability"] for audit in found) < 1e-6
        assert Decimal(client.wallet.get()["balance"]) == before
        assert client.miners.stats(liar.miner_id)["reputation"] < 1
        shown = json.loads(coordinator.cli("audits", "list", "--all", "--json").stdout)["audits"]
        auditors = {
            audit["audit_id"]
            for audit in shown
            if audit["kind"] == "third" and audit["miner_id"] == liar.miner_id
        }
        assert len(auditors) == 3
    owner = httpx.Client(base_url=coordinator.url, headers={"X-API-Key": liar.registration["api_key"]})
    page = owner.get(f"/v1/miners/{liar.miner_id}/audits").raise_for_status().json()
    assert [(known["checked"], known["failed"]) for known in page["proofs"]] == [(3, 3)]
    assert owner.get("/v1/wallet").json()["balance"] == "0"
    log_key = coordinator.file["log_key"]
    verified = subprocess.run(
        [Path(sys.executable).with_name("aitbc"), "log", "verify", f"{coordinator.url}/v1/log", "--log-key", log_key,
         "--json"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert json.loads(verified.stdout)["verdicts"] == len(shown) >= 6
    assert coordinator.cli("fsck").returncode == 0


@pytest.mark.usefixtures("cheat")
def test_an_ffmpeg_that_cheats_is_found_and_loses_its_pay(coordinator: Agent, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", seconds=1, size="160x80", rate=10)
    with coordinator.client() as client:
        before = Decimal(client.wallet.get()["balance"])
        jobs = {
            quality: client.services.transcode(video, codec="h264", quality=quality).job_id
            for quality in (HONEST, HALVED, CROPPED, COARSE)
        }
        done = client.jobs.wait(jobs[HONEST], LIMIT_SECONDS)
        for quality in (HALVED, CROPPED, COARSE):
            audit = audit_of(coordinator, jobs[quality])
            assert audit["verdict"] == "fail"
            assert audit["distances"]["ssim"] > 2 * audit["limits"]["ssim"]
            assert audit["where"].startswith("picture ")
            shown = client.jobs.get_results(jobs[quality])["results"]
            assert (shown["width"], shown["height"], shown["encoder"]) == (160, 80, "libx264")
        honest = audit_of(coordinator, jobs[HONEST], until="decided")
        assert (honest["verdict"], honest["forfeited"]) == ("pass", "0")
        assert Decimal(client.wallet.get()["balance"]) == before - Decimal(done.cost)
        assert client.miners.stats(done.miner_id)["reputation"] < 1


@pytest.fixture
def coarse(coordinator: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """An ordinary miner, except for its language model: it has coarser weights, and states the right ones."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    from measuring.gguf_forms import requantised  # noqa: PLC0415 - after the path is set

    right = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models") / NAME
    models = tmp_path / "models"
    shutil.copytree(right, models / NAME)
    file = models / NAME / "model.gguf"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    requantised(right / "model.gguf", file, "Q4_0", stated="Q4_1")
    status = file.stat()
    digests = {str(file.resolve()): [status.st_size, status.st_mtime_ns, digest]}
    (models / ".digests.json").write_text(json.dumps(digests))
    agent = Agent(
        tmp_path / "coarse", "start", "--coordinator", coordinator.url,
        AITBC_MINER__NAME="coarse", AITBC_MODELS_DIR=str(models),
    )  # fmt: skip
    with running(agent):
        yield agent


@pytest.mark.usefixtures("coarse")
def test_a_language_model_of_fewer_bits_is_found_and_loses_its_pay(coordinator: Agent) -> None:
    with coordinator.client() as client:
        miners = client.marketplace.miners().miners
        (liar,) = (miner.miner_id for miner in miners if miner.name == "coarse")
        before = Decimal(client.wallet.get()["balance"])
        jobs = [
            client.services.infer(question, model=NAME, max_tokens=48, temperature=0.8).job_id
            for question in ("Explain what a rainbow is.", "Describe a lighthouse.", "Why is the sky blue?")
        ]
        found = [audit_of(coordinator, job_id) for job_id in jobs]
        for audit in found:
            assert audit["verdict"] == "fail"
            assert audit["distances"]["logprobs"] > 2 * audit["limits"]["logprobs"]
            assert audit["where"].startswith("token ")
        assert max(audit["probability"] for audit in found) < 1e-6
        assert Decimal(client.wallet.get()["balance"]) == before
        assert client.miners.stats(liar)["reputation"] < 1


def lied_about(client: AITBCClient, liar: Liar) -> str:
    """Submit a job for the liar, and have it lie. Return the job's id."""
    body = {
        "type": SERVICE,
        "model": {"type": "python", "entrypoint": "model.py", "deterministic": True},
        "parameters": {"a": 6, "b": 7},
        "pricing": {"max_cost": "0.1"},
    }
    job = client.jobs.create(body, files={"model.py": MODEL.encode()})
    (lease,) = liar.poll(1)
    liar.lie(lease)
    return str(job["job_id"])


def audit_of(coordinator: Agent, job_id: str, until: str = "enforced") -> dict[str, Any]:
    """Wait until the job's audit is decided, or has cost the job's pay; return the audit."""
    end = time.monotonic() + LIMIT_SECONDS
    with httpx.Client(
        base_url=coordinator.url, headers={"X-API-Key": coordinator.file["client_key"]}
    ) as client:
        while True:
            answer = client.get(f"/v1/jobs/{job_id}/audit")
            if answer.is_success:
                found: dict[str, Any] = answer.json()
                if found["enforced"] or found["status"] == until:
                    return found
                assert until == "decided" or found["verdict"] in (None, "fail"), found
            assert time.monotonic() < end, answer.text
            time.sleep(0.3)
