"""The miner's keys for sealed jobs, the directory in memory, and the requests that it runs once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import ConfigurationError
from agent.miner.identity import Identity, load_identity
from agent.miner.sealing import directory as directories
from agent.miner.sealing.keys import DAY, FILE, MAX_KEYS, SealingKeys
from agent.miner.sealing.requests import RequestLog
from agent.miner.sealing.sealed_jobs import SealedJobs
from agent.miner.settings import MinerSettings, SealingSettings
from aitbc.canonical import b64encode
from aitbc.errors import VerificationError
from aitbc.sealing import EncryptionKey, JobOfRequest, ReplyKey, RequestSealer
from aitbc.sealing.answer import AnswerOpener
from aitbc.sealing.attestation import NoAttestation, nonce_of, verify
from runners.api import Fail

ORIGIN = "log.example.org"
JOB, FENCE, DIGEST = "job_1234567890", 3, "ab" * 32


class Machine:
    """An attestation of a machine that vouches for itself, as a package would add it."""

    def attest(self, nonce: bytes) -> dict[str, Any]:
        return {"quote": f"trusted {nonce.hex()}"}

    def verify(self, evidence: Any, nonce: bytes) -> str:
        if evidence != self.attest(nonce):
            raise VerificationError("The quote is about another nonce.")
        return "The machine's memory is encrypted."


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return load_identity(tmp_path)


def keys(tmp_path: Path, identity: Identity, now: list[float], **changes: Any) -> SealingKeys:
    values = {"rotate_days": 30, "grace_days": 7, "attestation": ("none", NoAttestation())} | changes
    return SealingKeys(tmp_path, identity, clock=lambda: now[0], **values)


def read(identity: Identity, made: SealingKeys) -> list[EncryptionKey]:
    return [EncryptionKey.read(item["envelope"], identity.public_key) for item in made.published(ORIGIN)]


def test_keys_rotate_and_old_ones_open_jobs_for_a_while(tmp_path: Path, identity: Identity) -> None:
    now = [1_800_000_000.0]
    made = keys(tmp_path, identity, now)
    assert made.published("") == []  # not before the log is known that it is signed for
    (first,) = read(identity, made)
    assert (first.miner_id, first.origin) == (identity.miner_id, ORIGIN)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    now[0] += 29 * DAY
    assert read(identity, made) == [first]
    now[0] += 2 * DAY
    newest, old = read(identity, made)
    assert old == first != newest
    assert [key.key_id for key in read(identity, keys(tmp_path, identity, now))] == [
        newest.key_id,
        old.key_id,
    ]
    now[0] = 1_800_000_000.0 + 36.9 * DAY
    assert made.find(first.key_id) is not None
    now[0] += 0.2 * DAY
    assert made.find(first.key_id) is None
    assert len(read(identity, made)) == 1
    for _ in range(3 * MAX_KEYS):
        now[0] += 30 * DAY
        assert len(read(identity, made)) <= MAX_KEYS


def test_a_damaged_or_open_file_of_keys_is_refused(tmp_path: Path, identity: Identity) -> None:
    keys(tmp_path, identity, [0.0])
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        keys(tmp_path, identity, [0.0])
    (tmp_path / FILE).chmod(0o600)
    (tmp_path / FILE).write_text(json.dumps({"keys": [{"private_key": "x"}]}))
    with pytest.raises(ConfigurationError, match="damaged"):
        keys(tmp_path, identity, [0.0])


def test_only_a_file_system_in_memory_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nshm {tmp_path} tmpfs rw 0 0\ndisk {tmp_path}/Gr\u00f6\u00dfe\\040x ext4 rw 0 0\n"
    )
    disk = tmp_path / "Gr\u00f6\u00dfe x"
    disk.mkdir()
    monkeypatch.setattr(directories, "MOUNTS", mounts)
    directory = directories.find(tmp_path, tmp_path / "data")
    assert directory.path is not None
    assert directory.path != directories.find(tmp_path, tmp_path / "other").path
    assert "ext4" in str(directories.find(disk, tmp_path).reason)
    assert "does not exist" in str(directories.find(tmp_path / "missing", tmp_path).reason)
    directories.create(directory.path)
    assert directory.path.stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(directory.path)
    with pytest.raises(OSError, match="another user"):
        directories.create(tmp_path / "link")
    swaps = tmp_path / "swaps"
    swaps.write_text(
        "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 5\n/dev/sda2 partition 1 0 -2\n"
    )
    assert directories.swaps(swaps) == ["/dev/sda2"]


def test_a_request_belongs_to_one_job_also_after_a_restart(tmp_path: Path) -> None:
    now = [1000.0]
    log = RequestLog(tmp_path, 500, lambda: now[0])
    assert log.claim("a" * 32, "job_1")
    assert log.claim("a" * 32, "job_1")  # it runs again after a failure of a machine
    assert not log.claim("a" * 32, "job_2")
    assert not RequestLog(tmp_path, 500, lambda: now[0]).claim("a" * 32, "job_2")
    now[0] = 1600.0  # its key has expired by now
    assert RequestLog(tmp_path, 500, lambda: now[0]).claim("a" * 32, "job_2")


@pytest.fixture
def sealed_jobs(tmp_path: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> SealedJobs:
    monkeypatch.setattr(directories, "file_system", lambda *_: "tmpfs")
    memory = tmp_path / "memory"
    memory.mkdir()
    settings = MinerSettings(sealing=SealingSettings(directory=memory))
    left = directories.find(memory, tmp_path).path
    assert left is not None
    (left / "job_x_1" / "inputs").mkdir(parents=True)
    (left / "job_x_1" / "inputs" / "0").write_text("plaintext of a job that was killed")
    return SealedJobs(settings, tmp_path, identity)


@pytest.mark.anyio
async def test_a_capsule_opens_for_its_job_once(sealed_jobs: SealedJobs, identity: Identity) -> None:
    """What an earlier process left in memory is removed at the start. Every refusal costs the client nothing."""
    assert sealed_jobs.path is not None
    assert list(sealed_jobs.path.iterdir()) == []
    (published,) = sealed_jobs.published(ORIGIN)
    key, reply = EncryptionKey.read(published["envelope"], identity.public_key), ReplyKey()
    sealer = RequestSealer(key, reply, service="llm_inference", model="m")
    sealed = sealer.seal({"prompt": "Hello"})
    opened = await sealed_jobs.open(JOB, FENCE, DIGEST, "llm_inference", sealed)
    assert opened.run.secret == sealer.secret
    assert sealer.secret.hex() not in repr(opened)
    opener = AnswerOpener(reply, JobOfRequest(JOB, identity.miner_id, sealed["request_id"]))
    assert opener._key(opened.run.header, "events") is not None

    other = RequestSealer(key, reply, service="llm_inference", model="m").seal({"prompt": "Hello"})
    cases = {
        "SEALED_REPLAYED": (("job_another", FENCE, DIGEST, "llm_inference"), sealed),
        "SEALED_INVALID": ((JOB, FENCE, DIGEST, "whisper_transcription"), other),
        "SEALED_KEY_EXPIRED": ((JOB, FENCE, DIGEST, "llm_inference"), {**other, "key_id": "0" * 32}),
    }
    for code, (lease, request) in cases.items():
        with pytest.raises(Fail) as refused:
            await sealed_jobs.open(*lease, request)
        assert refused.value.code == code
    sealed_jobs.close()
    assert not sealed_jobs.path.exists()


def test_without_memory_there_is_no_key(
    tmp_path: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "file_system", lambda *_: "ext4")
    settings = MinerSettings(sealing=SealingSettings(directory=tmp_path))
    made = SealedJobs(settings, tmp_path, identity)
    assert (made.published(ORIGIN), made.path) == ([], None)
    assert "ext4" in str(made.reason)
    assert SealedJobs(MinerSettings(executor="ray"), tmp_path, identity).published(ORIGIN) == []


def test_an_attestation_is_bound_to_the_miner_the_key_and_the_job(
    tmp_path: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract of plug-ins: a package's type is found by its name, made on the miner, and verified offline by the client."""

    class Point:
        name = "test-machine"

        def load(self) -> type[Machine]:
            return Machine

    monkeypatch.setattr("aitbc.sealing.attestation.entry_points", lambda group: [Point()] if group == "aitbc.attestations" else [])  # fmt: skip
    made = keys(tmp_path, identity, [1_800_000_000.0], attestation=("test-machine", Machine()))
    (published,) = made.published(ORIGIN)
    key = EncryptionKey.read(published["envelope"], identity.public_key)
    nonce = nonce_of(identity.public_key, job_id=None, key_id=key.key_id)
    assert verify(published["attestation"], nonce) == "The machine's memory is encrypted."
    of_job = made.attest(JOB, key.key_id)
    assert of_job is not None
    verify(of_job, nonce_of(identity.public_key, job_id=JOB, key_id=key.key_id))
    for wrong in (
        nonce,
        nonce_of(identity.public_key, job_id="job_another", key_id=key.key_id),
        nonce_of(os.urandom(32), job_id=JOB, key_id=key.key_id),
    ):
        with pytest.raises(VerificationError):
            verify(of_job, wrong)
    for unusable in (
        {"type": "none", "evidence": {}},
        {"type": "unknown", "evidence": {}},
        {"type": "test-machine"},
    ):
        with pytest.raises(VerificationError):
            verify(unusable, nonce)
    assert b64encode(nonce) not in json.dumps(published["envelope"])
