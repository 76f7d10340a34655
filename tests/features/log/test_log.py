"""The log over HTTP, with real receipts: checkpoint, tiles, entries, proofs, and witnesses' cosignatures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from sqlalchemy import text

from agent.coordinator.features.log.sequencer import PUBLISHED, Sequencer
from agent.coordinator.operations.context import Connection
from agent.core.errors import ConfigurationError
from aitbc import AITBCClient
from aitbc.keys import COSIGNATURE_TYPE, format_vkey
from aitbc.leaves.settlement import parse_settlement
from aitbc.log import receipt_leaf, verify_proof
from aitbc.merkle import leaf_hash
from aitbc.monitor import LogAddress, verify_log
from aitbc.notes import find_cosignature, parse_note
from aitbc.policy import Policy
from aitbc.receipts import verify_bundle
from aitbc.tiles import decode_entries, split_hashes
from support.logged import WITNESS, WITNESS_KEY, complete, cosigned, logged, newest, post_cosignature, size_of
from support.server import Served, serve
from support.servers.databases import on_postgres

SETTINGS: dict[str, Any] = {"open_enrolment": True, "log_checkpoint_seconds": 0.1, "witnesses": [WITNESS]}


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A coordinator with a configured witness."""
    with serve(tmp_path_factory.mktemp("log") / "data", **SETTINGS) as served:
        yield served


@pytest.fixture(scope="module")
def receipts(coordinator: Served) -> list[str]:
    """Receipts in the log; with the settlements, there is more than one tile of leaves."""
    receipts = complete(coordinator, 130)
    logged(coordinator, receipts[-1:])
    return receipts


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def get(served: Served, path: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{served.url}/v1/log/{path}", headers=headers)


@pytest.mark.parametrize("prefix", ["v1", "api/v1"])
def test_the_log_is_readable_without_a_key_and_consistent(
    coordinator: Served, receipts: list[str], prefix: str
) -> None:
    """Each receipt and settlement is a leaf exactly once, and the whole log verifies from outside."""
    with LogAddress(f"{coordinator.url}/{prefix}/log") as source:
        report = verify_log(source, Policy.of_log(coordinator.context.signer.vkey))
    assert report.failures == ()
    assert (report.receipts, report.settlements, report.others) == (len(receipts), len(receipts), 0)


def test_checkpoints_and_tiles_follow_the_specification(coordinator: Served, receipts: list[str]) -> None:
    assert receipts
    checkpoint = get(coordinator, "checkpoint")
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "no-cache"
    size = size_of(checkpoint.text)
    assert size == 260
    tile = get(coordinator, "tile/0/000")
    assert tile.headers["content-type"] == "application/octet-stream"
    assert "immutable" in tile.headers["cache-control"]
    assert len(tile.content) == 8192
    assert get(coordinator, "tile/0/001.p/4").content
    bundle = get(coordinator, "tile/entries/000")
    assert bundle.headers["content-encoding"] == "gzip"
    assert bundle.headers["vary"] == "Accept-Encoding"
    assert [leaf_hash(entry) for entry in decode_entries(bundle.content)] == split_hashes(tile.content)
    plain = get(coordinator, "tile/entries/000", **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == bundle.content
    for width in (1, 17, 255):
        assert get(coordinator, f"tile/0/000.p/{width}").content == tile.content[: 32 * width]
        assert (
            decode_entries(get(coordinator, f"tile/entries/000.p/{width}").content)
            == decode_entries(plain.content)[:width]
        )


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/001", "tile/0/001.p/5", "tile/0/002.p/1", "tile/1/000", "tile/1/000.p/2", "tile/2/000.p/1", "tile/entries/001",
        "tile/entries/001.p/5", "tile/entries/002.p/1", "tile/0/0", "tile/0/000.p/0", "tile/0/000.p/256", "tile/64/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999", "tile/", "tile/entries/", "tile/0/%00", "proof/receipt_none",
        "proof/%F0%9F%98%80", "nothing",
    ],
)  # fmt: skip
def test_missing_parts_of_the_log_are_not_found(coordinator: Served, receipts: list[str], path: str) -> None:
    assert receipts
    answer = get(coordinator, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_each_receipt_and_settlement_has_a_proof(coordinator: Served, receipts: list[str]) -> None:
    """The settlement agrees with the receipt, and states where the held money went."""
    headers = {"Authorization": f"Bearer {coordinator.client_key}"}
    for receipt_id in (receipts[0], receipts[70], receipts[-1]):
        job_id = receipt_id.replace("receipt_", "job_")
        receipt = httpx.get(f"{coordinator.url}/v1/receipts/{job_id}", headers=headers).json()
        vkey = coordinator.context.signer.vkey
        answer = get(coordinator, f"proof/{receipt_id}")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        verify_proof(receipt_leaf(receipt["envelope"]), answer.text, vkey)

        proof = get(coordinator, f"proof/{job_id.replace('job_', 'tx_')}").text
        index = int(proof.splitlines()[1].removeprefix("index "))
        full = index < 256
        path = f"tile/entries/{index // 256:03}" + ("" if full else ".p/4")
        leaf = decode_entries(get(coordinator, path).content)[index % 256]
        verify_proof(leaf, proof, vkey)
        settlement = parse_settlement(leaf)
        assert (settlement.job_id, settlement.receipt_id) == (job_id, receipt_id)
        assert settlement.miner_id == receipt["miner_id"]
        assert settlement.paid + settlement.refunded == settlement.held == 1


def test_refunds_of_cancelled_jobs_are_logged(coordinator: Served, receipts: list[str]) -> None:
    assert receipts
    with httpx.Client(base_url=coordinator.url, headers={"X-API-Key": coordinator.client_key}) as client:
        job_id = client.post(
            "/v1/services/whisper/transcribe", json={"audio_url": "https://example.com/a.mp3"}
        ).json()["job_id"]
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
    proof = get(coordinator, f"proof/{job_id.replace('job_', 'tx_')}")
    assert proof.status_code == 200, proof.text
    assert get(coordinator, f"proof/{job_id.replace('job_', 'receipt_')}").status_code == 404


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data", **SETTINGS) as served:
        yield served


def test_a_cosignature_is_accepted_and_served_with_the_checkpoint_and_in_proofs(served: Served) -> None:
    old = complete(served, 1)
    logged(served, old)
    note = get(served, "checkpoint").text
    answer = post_cosignature(served, cosigned(note))
    assert (answer.status_code, answer.json()) == (200, {"size": 2, "cosigned_by": ["witness.test/w1"]})
    assert find_cosignature(parse_note(get(served, "checkpoint").text), WITNESS) is not None

    new = complete(served, 1)
    assert logged(served, new).size == 4
    assert find_cosignature(parse_note(get(served, "checkpoint").text), WITNESS) is None
    assert size_of(get(served, "checkpoint?cosigned=1").text) == 2
    assert get(served, "checkpoint?cosigned=2").status_code == 404
    # Proofs of older leaves use the cosigned checkpoint, those of newer leaves the newest.
    policy = Policy.parse(f"log {served.context.signer.vkey}\nwitness w {WITNESS}\nquorum w\n")
    with AITBCClient(served.client_key, served.url) as client:
        bundles = {
            name: client.receipts.export(ids[0].replace("receipt_", "job_"))
            for name, ids in (("old", old), ("new", new))
        }
        assert verify_bundle(bundles["old"], policy).failures == ()
        assert verify_bundle(bundles["new"], policy).failures == (
            "witnesses: cosigned by none, but the policy asks for w.",
        )
        with pytest.raises(TimeoutError, match="cosignatures that the policy requires"):
            client.receipts.export(new[0].replace("receipt_", "job_"), policy=policy, timeout=0)
        post_cosignature(served, cosigned(get(served, "checkpoint").text))
        late = client.receipts.export(new[0].replace("receipt_", "job_"), policy=policy)
        assert verify_bundle(late, policy).failures == ()


def test_the_newest_cosignature_of_a_witness_is_retained(served: Served) -> None:
    logged(served, complete(served, 1))
    note = get(served, "checkpoint").text
    for moment in (20, 30, 10):
        assert post_cosignature(served, cosigned(note, moment=moment)).status_code == 200
    found = find_cosignature(parse_note(get(served, "checkpoint").text), WITNESS)
    assert found is not None
    assert found[1] == 30


def test_invalid_cosignatures_are_refused(served: Served) -> None:
    """Each with its reason, and none of them is served."""
    logged(served, complete(served, 1))
    note = get(served, "checkpoint").text
    stranger = SigningKey(b"s" * 32)
    forged = cosigned(note).replace("\n2\n", "\n3\n")
    other_log = cosigned(note.replace("aitbc.local/", "aitbc.other/"))
    wrong = cosigned(note)[:-8] + "AAAAAA=\n"
    cases = [
        (b"\xff", 422), ("", 422), ("nonsense", 422), (note[:-1], 422), (wrong, 422), (forged, 422),
        (cosigned(note, moment=int(time.time()) + 600), 422),
        (note, 403), (cosigned(note, stranger), 403),
        (cosigned(note.replace("\n2\n", "\n1\n")), 409), (other_log, 409),
        ("x" * 300_000, 413),
    ]  # fmt: skip
    for body, status in cases:
        answer = post_cosignature(served, body)
        assert answer.status_code == status, (body[:80], answer.text)
        assert answer.json()["error"]["message"]
    assert get(served, "checkpoint").text == note


def test_the_log_continues_after_a_restart(tmp_path: Path) -> None:
    """With the same key, which only its owner can read. The log after the restart extends the one before, also for an outside verifier."""
    data = tmp_path / "data"
    with serve(data, **SETTINGS) as served:
        first = complete(served, 3)
        before = logged(served, first)
        assert post_cosignature(served, cosigned(get(served, "checkpoint").text)).status_code == 200
        vkey = served.context.signer.vkey
    assert (data / "coordinator" / "log.key").stat().st_mode & 0o777 == 0o600
    with serve(data, **SETTINGS) as served:
        assert served.context.signer.vkey == vkey
        assert newest(served) == before
        assert find_cosignature(parse_note(get(served, "checkpoint").text), WITNESS) is not None
        after = logged(served, complete(served, 3))
        assert after.size == before.size + 6
        with LogAddress(f"{served.url}/v1/log") as source:
            report = verify_log(source, Policy.of_log(vkey), known={"before": before})
        assert report.failures == ()
        assert get(served, f"proof/{first[0]}").status_code == 200


def test_a_new_log_has_a_checkpoint_before_anything_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def signs_nothing(_: Sequencer) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Sequencer, "run", signs_nothing)
    with serve(tmp_path / "data") as served:
        assert newest(served).size == 0


@pytest.mark.sqlite
def test_health_reports_a_log_that_cannot_continue(served: Served) -> None:
    """On top of a damaged tile nothing is signed. Jobs continue, and proofs of new receipts time out."""
    logged(served, complete(served, 2))
    health = httpx.get(f"{served.url}/v1/health").json()
    assert (health["status"], health["services"]["blockchain"]) == ("ok", "healthy")

    def damage(connection: Connection) -> None:
        connection.execute(text("UPDATE log_tiles SET hashes = zeroblob(128)"))

    served.do(lambda context: context.database.write(damage))

    def health_now() -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{served.url}/v1/health").json()
        return answer

    until(lambda: health_now()["services"]["blockchain"] == "unhealthy")
    assert health_now()["status"] == "degraded"
    size = newest(served).size
    complete(served, 1)
    until(lambda: served.context.part(Sequencer).fault is not None)
    assert newest(served).size == size


def test_a_log_is_not_continued_with_another_key(tmp_path: Path) -> None:
    """The message has one sentence after the other, and the file's path."""
    with serve(tmp_path / "data"):
        pass
    key_file = tmp_path / "data" / "coordinator" / "log.key"
    key_file.write_bytes(key_file.read_bytes()[::-1])
    with pytest.raises(ConfigurationError) as refused, serve(tmp_path / "data"):
        pass
    expected = (
        f"{key_file} is not the key with which" if on_postgres() else f"cannot be continued with {key_file}"
    )
    assert expected in str(refused.value)
    assert ".." not in str(refused.value).replace(str(key_file), "")


@pytest.mark.sqlite
def test_a_database_from_before_the_published_checkpoint_is_not_continued(tmp_path: Path) -> None:
    """Restored from an old backup, it would sign a different log than the published one."""
    data = tmp_path / "data"
    with serve(data, **SETTINGS) as served:
        logged(served, complete(served, 1))
    database = data / "coordinator" / "coordinator.db"
    backup = database.read_bytes()
    with serve(data, **SETTINGS) as served:
        logged(served, complete(served, 1))
    published = data / "coordinator" / PUBLISHED
    assert size_of(published.read_text()) == 4
    for leftover in database.parent.glob("coordinator.db-*"):
        leftover.unlink()
    database.write_bytes(backup)
    with (
        pytest.raises(ConfigurationError, match=r"4 leaves was published, but the database has 2.*fsck"),
        serve(data),
    ):
        pass


def test_a_logs_origin_cannot_change(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serve(data, **SETTINGS) as served:
        logged(served, complete(served, 1))
    with (
        pytest.raises(
            ConfigurationError,
            match="the log's origin has changed" if on_postgres() else "is not from this log",
        ),
        serve(data, origin="another.example"),
    ):
        pass


def test_configured_witnesses_are_validated_on_startup(tmp_path: Path) -> None:
    log_key = format_vkey("w", bytes(WITNESS_KEY.verify_key))
    other = format_vkey("w2", bytes(WITNESS_KEY.verify_key), COSIGNATURE_TYPE)
    for witnesses, fault in (
        ([log_key], "not the key of a witness"),
        ([WITNESS, other], "given twice"),
        (["x"], "name[+]keyid"),
    ):
        with pytest.raises(ConfigurationError, match=fault), serve(tmp_path / "data", witnesses=witnesses):
            pass


def test_the_document_describes_the_log(served: Served) -> None:
    paths = httpx.get(f"{served.url}/v1/openapi.json", timeout=300).json()["paths"]
    assert set(paths["/v1/log/checkpoint"]["get"]["responses"]["200"]["content"]) == {"text/plain"}
    assert set(paths["/v1/log/proof/{reference}"]["get"]["responses"]["200"]["content"]) == {"text/plain"}
    assert "application/octet-stream" in paths["/v1/log/tile/{path}"]["get"]["responses"]["200"]["content"]
    assert set(paths["/v1/log/cosignature"]["post"]["requestBody"]["content"]) == {"text/plain"}
