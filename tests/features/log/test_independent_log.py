"""The log checked by an independent implementation of the C2SP formats (the package aics-tlog), over HTTP."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.log.sequencer import tree_of
from aitbc.log import open_checkpoint, parse_proof, receipt_leaf
from aitbc.merkle import consistency_proof
from aitbc.notes import find_cosignature, parse_note
from support.logged import WITNESS, WITNESS_KEY, complete, cosigned, logged, post_cosignature
from support.server import serve

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]
SECOND = ROOT / ".venv" / "tlog" / "bin" / "python"


def interpreter() -> str:
    """The Python that has the package: this one, or that of the environment made by scripts/setup."""
    if importlib.util.find_spec("aics_tlog") is not None:
        return sys.executable
    if SECOND.exists():
        return str(SECOND)
    pytest.skip("aics-tlog needs Python 3.12; scripts/setup found none on this machine")


def independent(asked: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [interpreter(), ROOT / "tests" / "support" / "independent_log.py"],
        input=json.dumps(asked), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_another_implementation_accepts_the_log_and_its_proofs(tmp_path: Path) -> None:
    """It accepts checkpoint, cosignature, every tile and bundle, inclusion and consistency, across a restart; we accept its witness."""
    interpreter()
    settings: dict[str, Any] = {"open_enrolment": True, "log_checkpoint_seconds": 0.1, "witnesses": [WITNESS]}
    with serve(tmp_path / "data", **settings) as served:
        receipts = complete(served, 3)
        logged(served, receipts)
        old = httpx.get(f"{served.url}/v1/log/checkpoint").text
    with serve(tmp_path / "data", **settings) as served:
        receipts += complete(served, 130)
        newest = logged(served, receipts[-1:])
        assert newest.size == 266
        prefix, vkey = f"{served.url}/v1/log", served.context.signer.vkey
        bundles = []
        for receipt_id in (receipts[0], receipts[60], receipts[-1]):
            receipt = httpx.get(
                f"{served.url}/v1/receipts/{receipt_id.replace('receipt_', 'job_')}",
                headers={"Authorization": f"Bearer {served.admin_key}"},
            )
            leaf = receipt_leaf(receipt.json()["envelope"])
            proof = httpx.get(f"{prefix}/proof/{receipt_id}").text
            bundles.append({"leaf": base64.b64encode(leaf).decode(), "proof": proof})
        assert post_cosignature(served, cosigned(httpx.get(f"{prefix}/checkpoint").text)).status_code == 200
        before = open_checkpoint(old, vkey)
        ours = served.context.database.read_now(
            lambda connection: consistency_proof(tree_of(connection, newest.size), before.size, newest.size)
        )
        found = independent(
            {
                "prefix": prefix,
                "vkey": vkey,
                "witness": WITNESS,
                "witness_name": "witness.test/w1",
                "seed": base64.b64encode(bytes(WITNESS_KEY)).decode(),
                "old": old,
                "leaves": bundles,
            }
        )
        accepted = post_cosignature(served, found["cosigned"])
        cosignature = find_cosignature(parse_note(httpx.get(f"{prefix}/checkpoint").text), WITNESS)
    assert (found["checkpoint"], found["old checkpoint"], found["error"]) == (True, True, None)
    assert found["size"] == newest.size
    assert found["audited"] == [266, 3, 2]
    for item in found["leaves"]:
        assert item == {
            "header": "c2sp.org/tlog-proof@v1", "signed": True, "included": True, "same": True, "entry": True,
        }  # fmt: skip
    assert found["consistent"]
    assert [base64.b64decode(item) for item in found["consistency"]] == ours
    assert accepted.status_code == 200, accepted.text
    assert cosignature is not None
    assert cosignature[1] == 1_764_000_001
    assert parse_proof(bundles[0]["proof"]).index in {0, 1}
