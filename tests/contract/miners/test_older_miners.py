"""A miner of an older version gets the jobs that it can run, and no others. What version 0.2.0 has sent is in `messages_0_2_0.json`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest

from runners.api import Since
from runners.input_options import OPTIONS, options_of
from runners.llm.request import LENIENT_SCHEMAS
from runners.whisper.request import TranscribeRequest
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import WHISPER, job, submit
from support.server import Served

RECORDED = json.loads((Path(__file__).parents[2] / "vectors" / "messages_0_2_0.json").read_text("utf-8"))
CHAT = {"model": "smollm2-135m-instruct", "prompt": "Hello", "timeout_seconds": 60}
SPEAKERS = 2
LINK = {"type": "object", "properties": {"link": {"type": "string", "format": "uri"}}}


class NewRequest(TranscribeRequest):
    """What a later version might understand."""

    speakers: Annotated[int | None, Since("0.4")] = None


@pytest.fixture
def old_miner(served: Served) -> ScriptedMiner:
    """A miner that registers as one of version 0.2.0 has."""
    sent = RECORDED["requests"]["Registration"][-1]
    miner = ScriptedMiner(served.url)
    registered = miner.register(
        agent_version=sent["agent_version"], capabilities={**sent["capabilities"], "slots": 20}
    )
    assert registered.status_code == 200, registered.text
    return miner


def leased(miner: ScriptedMiner) -> dict[str, dict[str, Any]]:
    """Return the specifications of all jobs that the miner gets now, by job."""
    return {lease["job_id"]: lease["spec"] for lease in miner.poll(slots=20, wait=1)}


def test_it_gets_the_jobs_that_clients_of_its_time_have_sent(
    client: httpx.Client, old_miner: ScriptedMiner
) -> None:
    """And each parameter of them is one that it knew."""
    artifact = client.post("/v1/artifacts", content=b"a file").json()["artifact_id"]
    known = json.loads((Path(__file__).parents[2] / "vectors" / "inputs_0_2_0.json").read_text("utf-8"))
    submitted = set()
    for sent in RECORDED["jobs"]:
        if "sealed" in sent["body"] or not sent["path"].startswith(("/v1/jobs", "/v1/services")):
            continue
        body = json.loads(re.sub(r"sha256:[0-9a-f]{64}", artifact, json.dumps(sent["body"])))
        submitted.add(client.post(sent["path"], json=body).json()["job_id"])
    specs = leased(old_miner)
    assert specs.keys() == submitted
    for spec in specs.values():
        assert set(spec["parameters"]) <= set(known[spec["service"]])


def test_a_request_that_it_would_refuse_goes_to_newer_miners_only(
    client: httpx.Client, served: Served, old_miner: ScriptedMiner
) -> None:
    """Without any, the client learns why its job cannot run."""
    lenient = {**CHAT, "response_schema": LINK}
    either = {**CHAT, "json_object": True, "tools": [{"name": "f"}]}
    for body, words in ((lenient, "a JSON Schema"), (either, "an answer that is a call")):
        refused = client.post("/v1/services/llm/inference", json=body)
        assert refused.status_code == 422
        assert f"scripted has an older version of the agent, which does not know {words}" in refused.text
    newer = ScriptedMiner(served.url)
    offered = capabilities()
    offered["services"]["llm_inference"] |= {
        "models": [CHAT["model"]],
        "features": {OPTIONS: [LENIENT_SCHEMAS]},
    }
    assert newer.register(capabilities=offered).status_code == 200
    plain = client.post("/v1/services/llm/inference", json=CHAT).json()["job_id"]
    new = client.post("/v1/services/llm/inference", json=lenient).json()["job_id"]
    assert leased(old_miner).keys() == {plain}
    assert leased(newer).keys() == {new}


def test_a_field_of_a_later_version_reaches_only_miners_that_name_it(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """A job without it has a specification that each miner understands."""
    services = served.context.catalogue.services
    definition = replace(services["whisper_transcription"], input_model=NewRequest)
    services["whisper_transcription"] = definition  # type: ignore[index] # it is a dictionary
    newer = ScriptedMiner(served.url)
    offered = capabilities()
    offered["services"]["whisper_transcription"]["features"] = {OPTIONS: list(options_of(NewRequest))}
    assert newer.register(capabilities=offered).status_code == 200

    def submitted(**more: Any) -> str:
        body = {"type": "whisper_transcription", "parameters": {**WHISPER, **more}}
        job_id: str = client.post("/v1/jobs", json=body).json()["job_id"]
        return job_id

    plain = {submitted(), submitted(speakers=None)}
    new = submitted(speakers=SPEAKERS)
    specs = leased(miner)
    assert specs.keys() == plain
    for spec in specs.values():
        TranscribeRequest.model_validate(spec["parameters"])
    assert leased(newer)[new]["parameters"]["speakers"] == SPEAKERS


def test_a_job_that_a_miner_does_not_understand_goes_to_another_one(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """Its client is not blamed. Where nobody is left who might understand it, the job fails at once."""
    other = ScriptedMiner(served.url)
    assert other.register().status_code == 200
    job_id = submit(client)
    report = {"kind": "retry", "code": "LEASE_MALFORMED", "message": "The agent may need an update."}
    assert miner.job(miner.poll()[0], "fail", **report).json()["status"] == "submitted"
    assert miner.poll(wait=1) == []
    assert other.job(other.poll()[0], "fail", **report).json()["status"] == "failed"
    assert job(client, job_id)["error"]["code"] == "LEASE_MALFORMED"
    assert client.get("/v1/wallet").json()["held"] == "0"
