"""Shared fixtures: keys, statements, receipts, clients and the command."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nacl.signing import SigningKey

from aitbc import AITBCClient, AsyncAITBCClient
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.cli import main
from aitbc.dsse import sign_envelope
from aitbc.keys import format_vkey, miner_id
from aitbc.log import receipt_leaf
from aitbc.receipts import build_bundle, build_receipt
from aitbc.statement import PAYLOAD_TYPE, NamedDigest, Statement, job_price

from .support.memory_log import MemoryLog
from .support.sealing_miner import SealingMiner
from .support.stand_in import Coordinator, Stage, serving

ORIGIN = "coordinator.test/log"
VIDEO = b"a short film"

INTERRUPTIBLE = ("env", "--default-signal=INT")
"""Prefix of a command that will be interrupted, because a shell's background job, as which tests may run, ignores SIGINT."""


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    path = Path(__file__).parents[3] / "tests" / "vectors" / "vectors.json"
    return json.loads(path.read_text())


@dataclass(frozen=True)
class Signed:
    """A receipt with all data that a verifier may have."""

    receipt: dict[str, Any]
    results: dict[str, Any]
    log_key: str
    statement: Statement
    proof: str

    @property
    def bundle(self) -> dict[str, Any]:
        return build_bundle(self.receipt, self.results, self.proof)


@pytest.fixture(scope="session")
def miner_key() -> SigningKey:
    return SigningKey(b"m" * 32)


@pytest.fixture(scope="session")
def signing_log_key() -> SigningKey:
    return SigningKey(b"l" * 32)


@pytest.fixture(scope="session")
def results() -> dict[str, Any]:
    file = {
        "artifact_id": f"sha256:{sha256_hex(VIDEO)}",
        "url": f"/v1/artifacts/sha256:{sha256_hex(VIDEO)}",
        "media_type": "video/mp4",
        "size": len(VIDEO),
        "name": "video.mp4",
    }
    return {"file": file, "duration": 2.5, "codec": "h264", "units": 12.5, "processing_time": 0.75}


@pytest.fixture(scope="session")
def statement(miner_key: SigningKey, results: dict[str, Any]) -> Statement:
    units, unit_price = Decimal("12.5"), Decimal("0.0001")
    return Statement(
        subject=(
            NamedDigest("result.json", sha256_hex(canonical_json(results))),
            NamedDigest("video.mp4", sha256_hex(VIDEO)),
        ),
        job_id="job_01hzx",
        miner_id=miner_id(bytes(miner_key.verify_key)),
        fence=4,
        origin=ORIGIN,
        spec_digest="0" * 64,
        inputs=(NamedDigest("input_url", "1" * 64),),
        service="video_transcoding",
        runner_name="ffmpeg",
        runner_version="0.1.0+7.1.3",
        model=None,
        device_kind="cpu",
        device_name="Some CPU",
        device_uuid=None,
        started_at="2026-11-24T15:00:00Z",
        finished_at="2026-11-24T15:00:03.250Z",
        units=units,
        unit="output second-megapixel",
        unit_price=unit_price,
        price=job_price(units, unit_price, Decimal(1)),
    )


@pytest.fixture(scope="session")
def sign(miner_key: SigningKey, signing_log_key: SigningKey) -> Callable[..., dict[str, Any]]:
    """Sign any payload as the miner and as the log."""

    def sign(statement: Statement, payload: bytes | None = None) -> dict[str, Any]:
        return build_receipt(
            envelope=sign_envelope(PAYLOAD_TYPE, payload or statement.to_payload(), miner_key),
            public_key=bytes(miner_key.verify_key),
            statement=statement,
            assigned_at="2026-11-24T15:00:00Z",
            completed_at="2026-11-24T15:00:04Z",
            signing_key=signing_log_key,
        )

    return sign


@pytest.fixture(scope="session")
def signed(sign, statement: Statement, results: dict[str, Any], signing_log_key: SigningKey) -> Signed:
    log_key = format_vkey(ORIGIN, bytes(signing_log_key.verify_key))
    receipt = sign(statement)
    log = MemoryLog(
        ORIGIN, signing_log_key, [b"one", b"two", receipt_leaf(receipt["envelope"]), b"four", b"five"]
    )
    return Signed(receipt, results, log_key, statement, log.proof(2))


def every_byte_changed(data: bytes) -> list[bytes]:
    """Return copies of `data` with one byte changed: a flipped bit, or a character that lenient parsers tolerate."""
    return [
        data[:position] + bytes([other]) + data[position + 1 :]
        for position, byte in enumerate(data)
        for other in {byte ^ 0x01, byte ^ 0x20, ord(" "), ord("\n"), ord("="), ord('"')} - {byte}
    ]


class Calls:
    """A uniform way to call a blocking or asyncio client: `calls(lambda client: client.jobs.get("job_1"))`."""

    def __init__(self, kind: str, base_url: str, timeout: float = 10) -> None:
        self.kind = kind
        make = AITBCClient if kind == "blocking" else AsyncAITBCClient
        self.client = make(api_key="key_1", base_url=base_url, timeout=timeout)
        self._runner = asyncio.Runner() if kind == "asyncio" else None

    def __call__(self, call: Callable[[Any], Any]) -> Any:
        if self._runner is None:
            return call(self.client)

        async def awaited() -> Any:
            return await call(self.client)

        return self._runner.run(awaited())

    def items(self, call: Callable[[Any], Any], most: int | None = None) -> list[Any]:
        """Return what an iteration yields, up to `most` items."""
        if self._runner is None:
            return list(itertools.islice(call(self.client), most))

        async def awaited() -> list[Any]:
            found: list[Any] = []
            async with aclosing(call(self.client)) as iteration:
                async for item in iteration:
                    found.append(item)
                    if len(found) == most:
                        break
            return found

        return self._runner.run(awaited())

    def close(self) -> None:
        if self._runner is None:
            self.client.close()
        else:
            self._runner.run(self.client.aclose())
            self._runner.close()


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with serving() as stage:
        yield stage


@pytest.fixture
def coordinator(stage: Stage) -> Coordinator:
    stage.coordinator = Coordinator(states=deque([{"status": "completed", "progress": 100}]))
    return stage.coordinator


@pytest.fixture
def base_url(stage: Stage, coordinator: Coordinator) -> str:
    return stage.url


@pytest.fixture(params=["blocking", "asyncio"])
def calls(request, base_url: str) -> Iterator[Calls]:
    calls = Calls(request.param, base_url)
    yield calls
    calls.close()


@pytest.fixture
def no_pauses(monkeypatch) -> list[float]:
    """Skip the client's pauses, and return their lengths. The server's clock does not change."""
    pauses = []

    async def skip(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(
        "aitbc._http.drivers.asyncio", SimpleNamespace(sleep=skip, to_thread=asyncio.to_thread)
    )
    monkeypatch.setattr("aitbc._http.drivers.time", SimpleNamespace(sleep=pauses.append))
    return pauses


@pytest.fixture
def free_address() -> Iterator[str]:
    """A URL of this machine on which no server listens: the port is bound, so that no other program gets it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def environment(base_url: str, tmp_path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    return {
        **inherited,
        "AITBC_BASE_URL": base_url,
        "AITBC_API_KEY": "key_1",
        "AITBC_DATA_DIR": str(tmp_path / "data"),
        "AITBC_CONFIG_DIR": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


@pytest.fixture
def workdir(tmp_path) -> Path:
    """An empty directory in which the command runs."""
    workdir = tmp_path / "workdir"
    workdir.mkdir()
    return workdir


@pytest.fixture
def quick(environment, workdir, monkeypatch, capsys):
    """Run the command in this process, without starting an interpreter."""
    for name in ("AITBC_BASE_URL", "AITBC_API_KEY", "AITBC_DATA_DIR", "AITBC_CONFIG_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.chdir(workdir)

    def quick(*arguments: str, stdin: str = "", **more: str) -> SimpleNamespace:
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["aitbc", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code or 0, stdout=printed.out, stderr=printed.err)

    return quick


@pytest.fixture
def run(environment, workdir):
    """Run the command in an empty directory."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "aitbc.cli", *arguments],
            env={**environment, **more}, cwd=workdir, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    run.workdir = workdir
    return run


@pytest.fixture
def config(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's own directory, which every program of this user uses."""
    monkeypatch.setenv("AITBC_CONFIG_DIR", environment["AITBC_CONFIG_DIR"])
    return Path(environment["AITBC_CONFIG_DIR"])


@pytest.fixture(scope="session")
def miner(miner_key: SigningKey) -> SealingMiner:
    return SealingMiner(miner_key)


@pytest.fixture(scope="session")
def other() -> SealingMiner:
    """A miner to which the client sealed an earlier job, and which now helps the coordinator."""
    return SealingMiner()


@pytest.fixture
def market(coordinator: Coordinator, miner: SealingMiner, other: SealingMiner) -> Coordinator:
    for one in (miner, other):
        coordinator.answers[f"GET /v1/miners/{one.miner_id}/encryption-key"] = one.key_answer()
    return coordinator
