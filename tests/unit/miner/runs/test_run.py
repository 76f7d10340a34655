"""Outputs, leases, identity and machine faults of a miner."""

from __future__ import annotations

import hashlib
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import ConfigurationError
from agent.miner.executor.circuit_breaker import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    WINDOW_SECONDS,
    FaultGuard,
)
from agent.miner.identity import ApiKeyStore, load_identity
from agent.miner.runs.lease import Lease
from agent.miner.runs.result import collect
from agent.protocol.reading import MalformedMessage
from aitbc.canonical import canonical_json, sha256_hex
from runners.api import Fail, Retry
from runners.host.protocol import Done


def done(results: dict[str, Any], units: str = "1") -> Done:
    return Done(run_id="r", results=results, units=Decimal(units), processing_time=0.1)


def mark(path: str, name: str = "a", **extra: Any) -> dict[str, Any]:
    return {"$file": {"path": path, "media_type": "text/plain", "name": name, "extra": extra}}


def test_output_files_are_named_by_their_content(tmp_path: Path) -> None:
    """They are in the order of the canonical results. Extra fields never replace standard ones."""
    (tmp_path / "x").write_text("x")
    (tmp_path / "y").write_text("yy")
    collected = collect(
        done({"z": mark("x", "first", size=99, frame=1), "a": [mark("y", "second")]}), tmp_path
    )
    digests = [hashlib.sha256(content).hexdigest() for content in (b"yy", b"x")]
    assert [artifact.artifact_id for artifact in collected.artifacts] == [
        f"sha256:{digest}" for digest in digests
    ]
    assert [artifact.path for artifact in collected.artifacts] == [tmp_path / "y", tmp_path / "x"]
    assert collected.results["z"] == {
        "artifact_id": f"sha256:{digests[1]}", "url": f"/v1/artifacts/sha256:{digests[1]}",
        "media_type": "text/plain", "size": 1, "name": "first", "frame": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "trick", ["../secret", "/etc/passwd", "link", "through/secret", "fifo", "directory", "."]
)
def test_only_regular_files_of_the_run_are_published(tmp_path: Path, trick: str) -> None:
    output = tmp_path / "output"
    (output / "directory").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (output / "link").symlink_to(tmp_path / "secret")
    (output / "through").symlink_to(tmp_path)
    os.mkfifo(output / "fifo")
    with pytest.raises((Retry, OSError)):
        collect(done({"file": mark(trick)}), output)


def test_results_cannot_contain_a_forged_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    forged = {"artifact_id": f"sha256:{'0' * 64}", "url": "/", "media_type": "a", "size": 1, "name": "a"}
    with pytest.raises(Fail):
        collect(done({"file": forged}), tmp_path)
    with pytest.raises(Fail):
        collect(done({"file": mark("x"), "more": forged}), tmp_path)


@pytest.mark.parametrize(
    ("units", "number"), [("12.5", 12.5), ("3", 3), ("0.0000004", 0), ("0.000001", 1e-06)]
)
def test_units_are_numbers_with_six_decimals(tmp_path: Path, units: str, number: float) -> None:
    collected = collect(done({}, units), tmp_path)
    assert collected.results["units"] == number
    assert collected.units == Decimal(str(number))


def lease(**changes: Any) -> dict[str, Any]:
    spec = {"job_id": "job_1", "service": "scripted", "parameters": {}, "files": {}, "timeout_seconds": 60}
    return {
        "job_id": "job_1", "fence": 1, "service": "scripted", "spec": spec, "spec_digest": sha256_hex(canonical_json(spec)),
        "attempt": 1, "unit_price": "0.1", "max_cost": "1", "assigned_at": "2024-01-01T12:00:00Z",
        "lease_expires_at": "2024-01-01T12:01:00Z", "deadline": "2024-01-01T12:01:00Z", "checkpoints": [], "trace_id": "0" * 32,
    } | changes  # fmt: skip


def test_the_time_left_does_not_depend_on_the_clock() -> None:
    """The coordinator's clock may be years away from ours."""
    assert 59 < Lease.read(lease()).seconds_left() <= 60


def test_the_digest_covers_the_whole_spec() -> None:
    good = lease()
    assert Lease.read(good).has_valid_digest()
    unknown = good["spec"] | {"unknown": 1}
    assert not Lease.read(good | {"spec": unknown}).has_valid_digest()
    assert Lease.read(lease(spec=unknown, spec_digest=sha256_hex(canonical_json(unknown)))).has_valid_digest()
    assert not Lease.read(good | {"service": "other"}).has_valid_digest()
    assert not Lease.read(good | {"job_id": "job_2"}).has_valid_digest()


@pytest.mark.parametrize("job_id", ["../job_1", "job_../x", "job_", "x"])
def test_job_ids_are_safe_as_directory_names(job_id: str) -> None:
    with pytest.raises(MalformedMessage, match="job_id"):
        Lease.read(lease(job_id=job_id, spec=lease()["spec"] | {"job_id": job_id}))


def test_a_newer_coordinators_lease_is_readable() -> None:
    """Fields that this agent does not know are ignored, at every level."""
    checkpoint = {"artifact_id": "sha256:0", "name": "a", "media_type": "b", "size": 1, "extra": {}, "new": 1}
    assert Lease.read(lease(new=1, checkpoints=[checkpoint])).checkpoints[0].name == "a"


@pytest.mark.parametrize(
    "changes",
    [{"fence": 0}, {"fence": None}, {"unit_price": "-1"}, {"assigned_at": "noon"}, {"spec": []}, {"checkpoints": [{}]}],
)  # fmt: skip
def test_a_malformed_lease_is_refused_without_quoting_it(changes: dict[str, Any]) -> None:
    secret = {"prompt": "a secret"}
    with pytest.raises(MalformedMessage) as refused:
        Lease.read(lease(**({"spec": lease()["spec"] | {"parameters": secret}} | changes)))
    assert "secret" not in str(refused.value)


def test_the_identity_is_created_once_and_private(tmp_path: Path) -> None:
    first, second = load_identity(tmp_path / "miner"), load_identity(tmp_path / "miner")
    assert first.miner_id == second.miner_id
    key = tmp_path / "miner/identity.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in key.parent.iterdir()) == ["identity.key", "name"]
    key.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_identity(tmp_path / "miner")
    key.chmod(0o600)
    key.write_text("damaged")
    with pytest.raises(ConfigurationError, match="damaged"):
        load_identity(tmp_path / "miner")


def test_api_keys_are_saved_by_network(tmp_path: Path) -> None:
    keys = ApiKeyStore(tmp_path)
    assert keys.get("a") is None
    keys.put("a", "key-a")
    keys.put("b", "key-b")
    assert (keys.get("a"), keys.get("b")) == ("key-a", "key-b")
    assert (tmp_path / "api_key.json").stat().st_mode & 0o777 == 0o600


def test_repeated_faults_pause_for_longer_each_time() -> None:
    """The pause is that of the service; the machine's other services go on."""
    guard, now = FaultGuard(), 0.0
    pauses = []
    for _ in range(8):
        assert [guard.fault("ffmpeg", job, now) for job in "abc"] == [False, False, True]
        pauses.append(guard.seconds_left("ffmpeg", now))
        assert guard.seconds_left("whisper", now) == 0
        now += guard.seconds_left("ffmpeg", now)
        assert guard.seconds_left("ffmpeg", now) == 0
    assert pauses == [min(FIRST_PAUSE_SECONDS * 2**number, LONGEST_PAUSE_SECONDS) for number in range(8)]
    guard.success("ffmpeg")
    assert [guard.fault("ffmpeg", job, now) for job in "abc"][-1]
    assert guard.seconds_left("ffmpeg", now) == FIRST_PAUSE_SECONDS


def test_a_service_that_the_machine_cannot_run_is_withdrawn_after_one_job_and_tried_again_later() -> None:
    guard = FaultGuard()
    guard.withdraw("ffmpeg", "Update the driver.", 10.0)
    assert guard.paused(10.0) == {"ffmpeg": "Update the driver."}
    guard.success("ffmpeg")
    assert guard.seconds_left("ffmpeg", 10.0) == LONGEST_PAUSE_SECONDS
    assert guard.paused(10.0 + LONGEST_PAUSE_SECONDS) == {}


def test_rare_faults_do_not_pause() -> None:
    guard = FaultGuard()
    assert not any(guard.fault("ffmpeg", str(number), number * WINDOW_SECONDS * 0.6) for number in range(10))


def test_one_job_does_not_pause_a_service_however_often_it_fails() -> None:
    guard = FaultGuard()
    assert not any(guard.fault("ffmpeg", "a", float(number)) for number in range(10))
    assert not guard.fault("ffmpeg", "b", 10.0)
    assert guard.fault("ffmpeg", "c", 11.0)
