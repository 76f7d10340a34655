"""Completed jobs with receipts in a coordinator's log, and access to its checkpoints."""

from __future__ import annotations

import httpx
from nacl.signing import SigningKey

from aitbc.keys import COSIGNATURE_TYPE, format_vkey
from aitbc.log import Checkpoint, open_checkpoint, parse_checkpoint
from aitbc.notes import cosign, parse_note
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}
AT_ONCE = 16
WITNESS_KEY = SigningKey(b"w" * 32)
WITNESS = format_vkey("witness.test/w1", bytes(WITNESS_KEY.verify_key), COSIGNATURE_TYPE)


def complete(served: Served, count: int, miner: ScriptedMiner | None = None) -> list[str]:
    """Submit and complete jobs, by default with a new miner. Returns the ids of their receipts."""
    if miner is None:
        miner = ScriptedMiner(served.url)
        assert miner.register().status_code == 200
    receipts: list[str] = []
    headers = {"Authorization": f"Bearer {served.client_key}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=120) as client:
        while len(receipts) < count:
            for _ in range(min(AT_ONCE, count - len(receipts))):
                submit(client)
            for lease in miner.poll(slots=AT_ONCE):
                answer = miner.complete(lease, {**RESULTS, "text": lease["job_id"]})
                receipts.append(answer.json()["receipt_id"])
    return receipts


def logged(served: Served, receipts: list[str]) -> Checkpoint:
    """Wait for a checkpoint with these receipts, and return it."""
    for receipt_id in receipts:
        assert httpx.get(f"{served.url}/v1/log/proof/{receipt_id}").status_code == 200
    return newest(served)


def newest(served: Served) -> Checkpoint:
    """Return the newest checkpoint with the log's signature."""
    return open_checkpoint(httpx.get(f"{served.url}/v1/log/checkpoint").text, served.context.signer.vkey)


def cosigned(note: str, key: SigningKey = WITNESS_KEY, moment: int | None = None) -> str:
    """Return a checkpoint with a witness's cosignature."""
    parsed = parse_note(note)
    when = 1_764_000_000 if moment is None else moment
    return str(parsed.with_signatures(cosign(parsed, "witness.test/w1", key, when)))


def post_cosignature(served: Served, body: str | bytes) -> httpx.Response:
    """Send a witness's cosigned checkpoint. Returns the response."""
    return httpx.post(
        f"{served.url}/v1/log/cosignature", content=body, headers={"Content-Type": "text/plain"}
    )


def size_of(note: str) -> int:
    """Return the number of leaves of a checkpoint."""
    return parse_checkpoint(parse_note(note).text).size
