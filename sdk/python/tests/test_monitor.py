"""Verification of a whole log, from a copy and over HTTP: an honest log passes, and each way to cheat is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from aitbc.errors import TransportError
from aitbc.keys import COSIGNATURE_TYPE, parse_vkey
from aitbc.leaves.settlement import Settlement
from aitbc.log import receipt_leaf
from aitbc.merkle import leaf_hash
from aitbc.monitor import LogAddress, LogDirectory, LogReport, verify_log
from aitbc.notes import find_cosignature, parse_note
from aitbc.policy import Policy
from aitbc.tiles import encode_entries

from .conftest import ORIGIN
from .support.memory_log import MemoryLog

LEAVES = [b'{"leaf":%d}' % number for number in range(600)]


@pytest.fixture
def log(signing_log_key: SigningKey) -> Callable[[list[bytes]], MemoryLog]:
    return lambda leaves: MemoryLog(ORIGIN, signing_log_key, leaves)


@pytest.fixture
def verify(signed, tmp_path: Path) -> Callable[..., LogReport]:
    """Verify a log as files in a directory, some of them changed."""

    def verify(log: MemoryLog, changed: dict[str, bytes] | None = None, **options) -> LogReport:
        log.write(tmp_path)
        for path, content in (changed or {}).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        return verify_log(LogDirectory(tmp_path), Policy.of_log(signed.log_key), **options)

    return verify


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 600])
def test_an_honest_log_is_valid_and_extends_every_checkpoint(log, verify, size: int) -> None:
    whole = log(LEAVES[:size])
    known = {
        f"of {old}": whole.checkpoint(old) for old in {0, 1, size // 2, max(0, size - 1), size} if old <= size
    }
    for first in (0, size // 2, size):
        report = verify(whole, known=known, first=first)
        assert report.failures == ()
        assert report.checkpoint == whole.checkpoint()


@pytest.mark.parametrize("index", [0, 255, 256, 599])
def test_a_changed_leaf_is_reported(log, verify, index: int) -> None:
    whole = log(LEAVES)
    forged = [*LEAVES[:index], b'{"leaf":"forged"}', *LEAVES[index + 1 :]]
    path = next(path for path in whole.files() if path.startswith(f"tile/entries/{index // 256:03}"))
    begin = index // 256 * 256
    report = verify(whole, {path: encode_entries(forged[begin : begin + 256])})
    assert report.failures == (f"leaf {index}: was changed: it does not have its hash in the tile.",)


@pytest.mark.parametrize("index", [0, 255, 256, 599])
def test_a_changed_leaf_with_a_changed_hash_is_reported(log, verify, index: int) -> None:
    """The tiles above no longer match, or the root differs."""
    whole = log(LEAVES)
    forged = [*LEAVES[:index], b'{"leaf":"forged"}', *LEAVES[index + 1 :]]
    begin = index // 256 * 256
    hashes = b"".join(leaf_hash(leaf) for leaf in forged[begin : begin + 256])
    paths = [
        path
        for path in whole.files()
        if path.startswith((f"tile/entries/{index // 256:03}", f"tile/0/{index // 256:03}"))
    ]
    changed = {
        path: encode_entries(forged[begin : begin + 256]) if "entries" in path else hashes for path in paths
    }
    report = verify(whole, changed)
    assert report.failures == (
        ("tiles: tile/1/000.p/2 does not follow from the tiles below it.",)
        if index < 512
        else ("tree: The tiles do not have the root of the checkpoint.",)
    )


def test_a_forked_log_is_reported(log, verify) -> None:
    """It is rewritten from leaf 100 and internally consistent, so only a known checkpoint reveals the fork."""
    honest, forged = log(LEAVES[:300]), log([*LEAVES[:100], b'{"leaf":"forged"}', *LEAVES[101:400]])
    assert verify(forged).failures == ()
    known = {
        "before": honest.checkpoint(100),
        "after": honest.checkpoint(101),
        "newest": honest.checkpoint(),
    }
    assert verify(forged, known=known).failures == (
        "after: the log was forked: its first 101 leaves are not those that it signed before.",
        "newest: the log was forked: its first 300 leaves are not those that it signed before.",
    )
    same_size = log([*LEAVES[:299], b'{"leaf":"forged"}'])
    assert not verify(same_size, known={"newest": honest.checkpoint()}).valid


def test_old_tiles_beside_new_ones_do_not_hide_a_fork(log, verify) -> None:
    """The partial tiles of the old size do not pass as the beginning of the new log."""
    honest, forged = log(LEAVES[:100]), log([b'{"leaf":"forged"}', *LEAVES[1:400]])
    old = {path: content for path, content in honest.files().items() if path != "checkpoint"}
    assert not verify(forged, old, known={"seen": honest.checkpoint()}).valid


def test_a_truncated_log_is_reported(log, verify) -> None:
    assert verify(log(LEAVES[:299]), known={"newest": log(LEAVES[:300]).checkpoint()}).failures == (
        "newest: the log was truncated: it had 300 leaves, and signs for 299 now.",
    )


def test_missing_files_and_foreign_checkpoints_are_reported(log, verify, signed, tmp_path: Path) -> None:
    report = verify_log(LogDirectory(tmp_path), Policy.of_log(signed.log_key))
    assert report.failures == (
        "checkpoint: There is no checkpoint here. A coordinator's log is at the coordinator's address with /v1/log.",
    )
    stranger = MemoryLog(ORIGIN, SigningKey(b"s" * 32), LEAVES[:3])
    assert verify(stranger).failures == ("checkpoint: The note is not signed by the given log key.",)
    whole = log(LEAVES[:300])
    for path in whole.files():
        whole.write(tmp_path)
        (tmp_path / path).unlink()
        report = verify_log(LogDirectory(tmp_path), Policy.of_log(signed.log_key))
        if path != "checkpoint":
            assert any(
                f"lacks {path}" in failure or f"lacks {path[:-5]}" in failure for failure in report.failures
            ), path


def test_a_full_tile_replaces_a_removed_partial_tile(log, signed, tmp_path: Path) -> None:
    """A mirror may remove the partial tile once the full one exists."""
    log(LEAVES[:300]).write(tmp_path)
    log(LEAVES[:512]).write(tmp_path)
    for path in ("tile/0/001.p/44", "tile/entries/001.p/44"):
        (tmp_path / path).unlink()
    (tmp_path / "checkpoint").write_text(str(log(LEAVES).note(300)))
    assert verify_log(LogDirectory(tmp_path), Policy.of_log(signed.log_key)).failures == ()


def test_receipts_and_settlements_are_counted_and_compared(log, verify, signed) -> None:
    statement = signed.statement
    receipt = receipt_leaf(signed.receipt["envelope"])
    price = statement.price
    settlement = Settlement(
        job_id=statement.job_id, receipt_id=signed.receipt["receipt_id"], miner_id=statement.miner_id,
        outcome="completed", held=price, paid=price, fee=price - price, refunded=price - price, settled_at="2026-11-24T15:00:04Z",
    )  # fmt: skip
    report = verify(log([settlement.to_leaf(), receipt, b"{}"]))
    assert (report.valid, report.receipts, report.settlements, report.others) == (True, 1, 1, 1)
    other = Settlement(
        **{name: getattr(settlement, name) for name in Settlement.__dataclass_fields__}
        | {"held": price * 2, "paid": price * 2}
    )
    for leaves in ([other.to_leaf(), receipt], [receipt, other.to_leaf()]):
        assert verify(log(leaves)).failures == (
            "leaf 1: job_01hzx was settled for another price than its receipt says.",
        )
    assert "leaf 0: is malformed" in verify(log([settlement.to_leaf().replace(b'"tx_', b'"ty_')])).failures[0]


@pytest.fixture
def served(log, coordinator, signed):
    """Run the command `aitbc` against a coordinator that serves a log."""
    coordinator.log = log(LEAVES[:300]).files()
    return coordinator


def test_the_command_stores_checkpoints_and_reports_a_fork(quick, workdir, served, log, signed) -> None:
    command = ("log", "verify", "--log-key", signed.log_key, "--remember", "seen", "--json")
    answer = json.loads(quick(*command).stdout)
    assert (answer["valid"], answer["size"], answer["others"]) == (True, 300, 300)
    served.log = log(LEAVES[:400]).files()
    outcome = quick(*command, "--new-only")
    assert (outcome.returncode, json.loads(outcome.stdout)["others"]) == (0, 400 - 256)
    assert (workdir / "seen").read_text() == str(log(LEAVES[:400]).note())
    served.log = log([b'{"leaf":"forged"}', *LEAVES[1:500]]).files()
    outcome = quick(*command)
    assert outcome.returncode == 3
    assert json.loads(outcome.stdout)["failures"] == [
        "stored checkpoint: the log was forked: its first 400 leaves are not those that it signed before."
    ]
    assert (workdir / "seen").read_text() == str(log(LEAVES[:400]).note())


def test_the_command_verifies_a_directory_against_a_proof(quick, workdir, log, signed, free_address) -> None:
    log(LEAVES[:300]).write(workdir / "copy")
    (workdir / "a.tlog-proof").write_text(log(LEAVES[:10]).proof(3))
    (workdir / "policy").write_text(f"log {signed.log_key}\nquorum none\n")
    command = ("log", "verify", "copy", "--policy", "policy", "--against", "a.tlog-proof")
    outcome = quick(*command, AITBC_BASE_URL=free_address)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout == "valid: 300 leaves\n"
    verdict, *checks = quick(*command, "--verbose").stdout.splitlines()
    assert verdict == "valid: 300 leaves"
    assert "  ok    checkpoint in a.tlog-proof: the log extends its 10 leaves" in checks
    assert quick("log", "verify", "copy", "--policy", "policy", "--log-key", signed.log_key).returncode == 2


def test_a_witness_cosigns_only_a_log_that_extends_the_last_one(quick, workdir, served, log, signed) -> None:
    vkey = quick("log", "witness-key", "w.test", "--key", "w.key").stdout.strip()
    assert parse_vkey(vkey, COSIGNATURE_TYPE)[0] == "w.test"
    assert (workdir / "w.key").stat().st_mode & 0o077 == 0
    assert quick("log", "witness-key", "w.test", "--key", "w.key").returncode == 1
    command = ("log", "cosign", "w.test", "--key", "w.key", "--remember", "seen", "--log-key", signed.log_key)
    for size in (300, 350):
        served.log = log(LEAVES[:size]).files()
        outcome = quick(*command)
        assert outcome.returncode == 0, outcome.stderr
        note = parse_note(served.cosigned[-1])
        assert note.text == log(LEAVES[:size]).checkpoint().text
        assert find_cosignature(note, vkey) is not None
    served.log = log([b'{"leaf":"forged"}', *LEAVES[1:400]]).files()
    outcome = quick(*command)
    assert (outcome.returncode, len(served.cosigned)) == (3, 2)
    assert "forked" in outcome.stdout
    assert (workdir / "seen").read_text() == str(log(LEAVES[:350]).note())


def test_an_unreachable_log_is_an_error(free_address) -> None:
    with (
        LogAddress(f"{free_address}/v1/log") as source,
        pytest.raises(TransportError, match="cannot be read"),
    ):
        source.read("checkpoint")


def test_a_file_that_is_too_long_is_an_error(coordinator, base_url) -> None:
    coordinator.log = {"checkpoint": b"x" * (2**18 + 1)}
    with LogAddress(f"{base_url}/v1/log") as source:
        with pytest.raises(TransportError, match="longer than"):
            source.read("checkpoint")
        assert source.read("tile/0/000") is None
