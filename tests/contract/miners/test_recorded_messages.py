"""What version 0.2.0 and its miners and clients have sent to each other is still understood, on each side."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.miner.runs.lease import Lease
from agent.protocol import answers, messages
from agent.protocol.reading import read
from aitbc.answers import accounts, audits, files, health, jobs, market, miners, payouts, receipts

VECTORS = Path(__file__).parents[2] / "vectors"

RECORDED = json.loads((VECTORS / "messages_0_2_0.json").read_text(encoding="utf-8"))
SDK = (accounts, audits, files, health, jobs, market, miners, payouts, receipts)


def recorded(group: str) -> list[Any]:
    """Return the recorded messages of a group, each with its kind."""
    return [
        pytest.param(kind, message, id=f"{kind}-{number}")
        for kind, of_kind in RECORDED[group].items()
        for number, message in enumerate(of_kind)
    ]


def missing(sent: Any, understood: Any, path: str = "") -> list[str]:
    """Return the paths of the values that were sent and not understood."""
    if isinstance(sent, dict):
        return [
            problem
            for name, value in sent.items()
            for problem in (
                missing(value, understood[name], f"{path}.{name}")
                if isinstance(understood, dict) and name in understood
                else [f"{path}.{name}"]
            )
        ]
    return [] if sent == understood or isinstance(sent, list) else [f"{path}: {sent!r}, not {understood!r}"]


@pytest.mark.parametrize(("kind", "message"), recorded("requests"))
def test_the_coordinator_understands_a_miners_request(kind: str, message: dict[str, Any]) -> None:
    model = getattr(messages, kind)
    understood = model.model_validate_json(json.dumps(message))
    assert message.keys() - {"call"} <= model.model_fields.keys()
    assert {name for name in message if name != "call"} == understood.model_fields_set


@pytest.mark.parametrize(("kind", "message"), recorded("to_miners"))
def test_a_miner_understands_the_coordinators_answer(kind: str, message: dict[str, Any]) -> None:
    if kind == "cancelled":
        assert message.keys() == {"push", "job_id", "fence"}
    elif kind in {"Lease", "Leases"}:
        for values in message.get("leases", [message]):
            lease = Lease.read(values)
            assert (lease.job_id, lease.fence) == (values["job_id"], values["fence"])
            assert values.keys() <= answers.Lease.model_fields.keys()
    else:
        read(getattr(answers, kind), message)


@pytest.mark.parametrize(("kind", "message"), recorded("answers"))
def test_a_client_understands_an_answer(kind: str, message: dict[str, Any]) -> None:
    """Every field of it is declared, and has the value that was sent."""
    model = next(getattr(module, kind) for module in SDK if hasattr(module, kind))
    answer = model.read(message)
    assert message.keys() <= {field.alias or name for name, field in model.model_fields.items()}
    assert missing(message, json.loads(answer.json(by_alias=True))) == []


@pytest.mark.parametrize("job", [job for job in RECORDED["jobs"] if not job["path"].endswith(("completions", "embeddings"))], ids=lambda job: job["path"])  # fmt: skip
def test_the_coordinator_accepts_a_clients_job(client: httpx.Client, job: dict[str, Any]) -> None:
    artifact = client.post("/v1/artifacts", content=b"a file").json()["artifact_id"]
    body = json.loads(re.sub(r"sha256:[0-9a-f]{64}", artifact, json.dumps(job["body"])))
    answer = client.post(job["path"], json=body)
    assert answer.status_code == job["status"], answer.text
