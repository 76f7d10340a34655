"""The targets of fuzzing: every parser of untrusted bytes, and the properties that hold for any input.

A target either accepts its input or raises one of its own errors. If a format has exactly one spelling for each value, the
target also checks that the parsed value is serialised to the same bytes: a second spelling could remain unnoticed under a
signature.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from agent.configuring.sources import parse_file
from agent.core.errors import ApiError, ConfigurationError, ValidationFailed, VersionMismatch
from agent.core.tracing import trace_id_in
from agent.core.values.durations import parse_duration
from agent.core.values.quantities import Bytes, parse_decimal, parse_money, parse_quantity, parse_time
from agent.miner.runs.lease import Lease
from agent.miner.schedules import parse_window
from agent.protocol import messages
from agent.protocol.reading import MalformedMessage
from aitbc.attestation import verify_attestation
from aitbc.canonical import b64decode, b64encode, canonical_json, parse_json
from aitbc.dsse import open_envelope
from aitbc.errors import AITBCError, FormatError
from aitbc.keys import COSIGNATURE_TYPE, format_vkey, parse_vkey
from aitbc.leaves.settlement import parse_settlement
from aitbc.log import parse_checkpoint, parse_proof
from aitbc.notes import parse_note
from aitbc.policy import Policy
from aitbc.receipts import verify_bundle
from aitbc.statement import PAYLOAD_TYPE, parse_statement
from aitbc.tiles import parse_tile_path
from runners.host.protocol import ProtocolError, receive
from runners.plain_json import check_json
from support.features import is_installed

VECTORS = Path(__file__).parents[1] / "vectors"
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Target:
    """One parser. `seeds` returns inputs that are valid or nearly valid; `refuses` are the errors that it may raise."""

    parse: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    seeds: Callable[[], Sequence[bytes]]

    def accepts(self, data: bytes) -> bool:
        """Return whether the parser accepts the input. Unexpected errors propagate: these are what a fuzzer searches for."""
        try:
            self.parse(data)
        except self.refuses:
            return False
        return True


def _vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _text(data: bytes) -> str:
    """Decode bytes as an HTTP framework or a file would."""
    return data.decode("utf-8", "surrogateescape")


# Signed data --------------------------------------------------------------------------------------------------------


def _bundle() -> Any:
    return _vectors("receipts")["bundle"]


def _key() -> bytes:
    return b64decode(_bundle()["receipt"]["signature"]["public_key"])


def _log_key() -> str:
    return str(_vectors("receipts")["log_key"])


def _read_json(data: bytes) -> None:
    value = parse_json(data)
    written = canonical_json(value)
    assert canonical_json(parse_json(written)) == written


def _read_base64(data: bytes) -> None:
    text = _text(data)
    assert b64encode(b64decode(text)) == text


def _read_statement(data: bytes) -> None:
    assert parse_statement(data).to_payload() == data


def _read_settlement(data: bytes) -> None:
    assert parse_settlement(data).to_leaf() == data


def _read_note(data: bytes) -> None:
    assert str(parse_note(data)).encode() == data


def _read_checkpoint(data: bytes) -> None:
    checkpoint = parse_checkpoint(data.decode("utf-8", "strict"))
    assert checkpoint.size >= 0


def _read_vkey(data: bytes, kind: bytes) -> None:
    text = data.decode("utf-8", "strict")
    name, public_key = parse_vkey(text, kind)
    assert format_vkey(name, public_key, kind) == text


def _read_tile(data: bytes) -> None:
    path = _text(data)
    assert parse_tile_path(path).path == path


def _verify_bundle(data: bytes) -> None:
    # An invalid bundle raises no error, and only the unchanged one is valid.
    bundle = parse_json(data)
    if verify_bundle(bundle, _log_key()).valid:
        assert bundle == _bundle()


# Messages between miners and coordinators ---------------------------------------------------------------------------


def _message(model: type[BaseModel], data: bytes) -> None:
    message = model.model_validate(orjson.loads(data))
    if isinstance(message, messages.RunResult) and (problems := message.problems()):
        raise ValidationFailed("The message is not valid.", problems)
    # Accepted messages are stored and forwarded.
    orjson.dumps(message.model_dump(mode="json"))


def _read_lease(data: bytes) -> None:
    lease = Lease.read(orjson.loads(data))
    lease.has_valid_digest()
    lease.seconds_left()


def _read_frame(data: bytes) -> None:
    async def feed() -> None:
        stream = asyncio.StreamReader()
        stream.feed_data(_LENGTH.pack(len(data)) + data)
        stream.feed_eof()
        await receive(stream)

    asyncio.run(feed())


def _read_results(data: bytes) -> None:
    value = orjson.loads(data)
    check_json(value)
    canonical_json(value)


# Text of people ------------------------------------------------------------------------------------------------------


def _read_toml(data: bytes) -> None:
    parse_file(Path("agent.toml"), data)


def _values(reading: Callable[[str], object], data: bytes) -> None:
    reading(_text(data))


def _message_seeds(model: type[BaseModel]) -> list[bytes]:
    return [_json(value) for value in _MESSAGES[model.__name__]]


_CAPABILITIES = {
    "services": {
        "llm_inference": {
            "runner": "llm", "version": "0.1.0", "models": ["tiny"], "loaded": [], "unit_price": "0.0001",
            "features": {"dtype": "bfloat16"}, "concurrency": 8, "score": {"metric": "token/s", "value": 24.5},
        }
    },
    "unavailable": {"video_transcoding": ["ffmpeg was not found."]},
    "cpu_cores": 2, "memory": 25769803776, "disk_free": 85899345920, "slots": 1,
    "gpus": [{"uuid": "GPU-1", "index": 0, "name": "Card", "memory_total": 25769803776, "memory_free": 1}],
}  # fmt: skip
_JOB = {"job_id": "job_1234567890", "fence": 4}
_FILE = {"artifact_id": "sha256:" + "0" * 64, "name": "a.png", "media_type": "image/png", "size": 7}
_BATCH_CAPACITY = [{"service": "llm_inference", "model": "tiny", "free": 3}]
_MESSAGES: dict[str, list[Any]] = {
    "Registration": [
        {
            "nonce": "n", "public_key": "k", "signature": "s", "name": "rig", "agent_version": "0.1.0",
            "capabilities": _CAPABILITIES, "holding": [_JOB],
        }
    ],
    "Capabilities": [_CAPABILITIES],
    "Poll": [{"slots": 1, "wait": 30, "batch_capacity": _BATCH_CAPACITY}],
    "SlotsMessage": [{"slots": 1, "received": 0, "batch_capacity": _BATCH_CAPACITY}],
    "Heartbeat": [
        {
            "leases": [{**_JOB, "progress": 41.5, "counter": 7, "units": "12.9"}],
            "gpus": [{"uuid": "GPU-1", "memory_free": 1, "utilization": 99.5, "temperature": 60.0}],
            "capabilities": _CAPABILITIES, "paused": "by hand", "executed": ["command_1"],
            "activity": {"idle": [{"reason": "working", "share": 0.5}], "downloads": [{"model": "a", "done": 1}]},
        }
    ],
    "RunEvents": [
        {"fence": 4, "events": [{"kind": "progress", "data": {"progress": 41, "units": "12.9"}}]},
        {"fence": 4, "events": [{"kind": "output", "data": {**_FILE, "extra": {"frame": 3}}}]},
    ],
    "RunOutput": [{**_FILE, "extra": {"frame": 3}}],
    "RunResult": [{"fence": 4, "envelope": {"payload": "e30="}, "results": {"text": "x"}, "artifacts": [_FILE]}],
    "RunFailure": [{"fence": 4, "kind": "retry", "code": "MACHINE_FAULT", "message": "out of memory"}],
    "RunRelease": [{"fence": 4, "reason": "shutdown"}],
}  # fmt: skip


def _lease_seeds() -> list[bytes]:
    spec = {
        "job_id": "job_1",
        "service": "llm_inference",
        "parameters": {"prompt": "x"},
        "files": {"a": "https://a.test/b"},
    }
    lease = {
        "job_id": "job_1", "fence": 1, "service": "llm_inference", "spec_digest": "0" * 64, "unit_price": "0.0001",
        "max_cost": "1", "assigned_at": "2026-11-24T15:00:00.000Z", "deadline": "2026-11-24T15:05:00.000Z", "spec": spec,
        "attempt": 1, "lease_expires_at": "2026-11-24T15:01:00.000Z", "checkpoints": [], "trace_id": "0" * 32,
    }  # fmt: skip
    return [_json(lease)]


def _frame_seeds() -> list[bytes]:
    file = {"path": "a.png", "media_type": "image/png"}
    return [
        _json(message)
        for message in (
            {"type": "ready", "runner": {"name": "llm", "version": "0.1.0"}},
            {"type": "progress", "run_id": "r", "progress": 41.5, "units": "12.9"},
            {"type": "event", "run_id": "r", "kind": "token", "data": {"text": "x"}},
            {
                "type": "done",
                "run_id": "r",
                "results": {"image": {"$file": file}},
                "units": "1",
                "processing_time": 0.5,
            },
            {"type": "error", "run_id": "r", "kind": "fail", "code": "BAD", "message": "x"},
        )
    ]


def _toml_seeds() -> list[bytes]:
    configs = Path(__file__).parents[2] / "configs"
    written = [path.read_bytes()[:2000] for path in sorted(configs.glob("*.toml"))]
    return [*written, b'[miner]\nname = "rig"\nslots = 2\n', b"a = [[1], {b = 1979-05-27T07:32:00Z}]\n"]


_REFUSED_JSON = (FormatError,)
_REFUSED_MESSAGE = (ValidationError, ValidationFailed, orjson.JSONDecodeError, VersionMismatch)
_REFUSED_VALUE = (ValueError,)


def _message_target(model: type[BaseModel]) -> Target:
    return Target(partial(_message, model), _REFUSED_MESSAGE, partial(_message_seeds, model))


def _strings(*values: str) -> Callable[[], list[bytes]]:
    return lambda: [value.encode() for value in values]


TARGETS: dict[str, Target] = {
    "attestation": Target(
        lambda data: verify_attestation(parse_json(data), parse_vkey(_log_key())[1]),
        (AITBCError,),
        lambda: [_json(item) for item in _bundle()["receipt"]["attestations"]],
    ),
    "base64": Target(_read_base64, _REFUSED_JSON, _strings("YSBzaG9ydCBmaWxt", "YQ==", "")),
    "bundle": Target(_verify_bundle, _REFUSED_JSON, lambda: [_json(_bundle())]),
    "checkpoint": Target(
        _read_checkpoint,
        (FormatError, UnicodeDecodeError),
        lambda: [_vectors("vectors")["log"]["checkpoint"].rpartition("\n\n")[0].encode() + b"\n"],
    ),
    "decimal": Target(partial(_values, parse_decimal), _REFUSED_VALUE, _strings("12.9", "1E+3", "0")),
    "dsse": Target(
        lambda data: open_envelope(parse_json(data), _key(), PAYLOAD_TYPE),
        (AITBCError,),
        lambda: [_json(_bundle()["receipt"]["envelope"])],
    ),
    "duration": Target(partial(_values, parse_duration), _REFUSED_VALUE, _strings("90s", "2h", "1d")),
    "frame": Target(_read_frame, (ProtocolError,), _frame_seeds),
    "json": Target(
        _read_json,
        _REFUSED_JSON,
        lambda: [item["text"].encode() for item in _vectors("canonical")["good"]],
    ),
    "lease": Target(_read_lease, (MalformedMessage, orjson.JSONDecodeError), _lease_seeds),
    "money": Target(partial(_values, parse_money), _REFUSED_VALUE, _strings("0.10", "9999999999.99999999")),
    "note": Target(
        _read_note, _REFUSED_JSON, lambda: [item["note"].encode() for item in _vectors("notes")["notes"]]
    ),
    "policy": Target(
        Policy.parse,
        _REFUSED_JSON,
        lambda: [
            f"log {_vectors('notes')['log_key']}\nwitness w {_vectors('notes')['witness_key']}\n"
            "group g any w\nquorum g\n".encode()
        ],
    ),
    "proof": Target(parse_proof, _REFUSED_JSON, lambda: [_bundle()["proof"].encode()]),
    "quantity": Target(partial(_values, parse_quantity), _REFUSED_VALUE, _strings("1000m", "2Gi", "1.5")),
    "results": Target(
        _read_results, (ValueError, FormatError), lambda: [_json(_bundle()["results"]), b'{"a": [1.5, null]}']
    ),
    "schedule": Target(partial(_values, parse_window), _REFUSED_VALUE, _strings("Mon-Fri 09:00-17:00", "22:00-06:00")),
    "settlement": Target(
        _read_settlement,
        _REFUSED_JSON,
        lambda: [item["leaf"].encode() for item in _vectors("settlements") if item["valid"]],
    ),
    "size": Target(partial(_values, Bytes), _REFUSED_VALUE, _strings("4Mi", "7")),
    "statement": Target(_read_statement, _REFUSED_JSON, lambda: [b64decode(_bundle()["receipt"]["envelope"]["payload"])]),
    "tile": Target(_read_tile, _REFUSED_JSON, _strings("tile/0/x001/234.p/5", "tile/entries/000")),
    "time": Target(partial(_values, parse_time), _REFUSED_VALUE, _strings("2026-11-24T15:00:00.000Z")),
    "toml": Target(_read_toml, (ConfigurationError,), _toml_seeds),
    "traceparent": Target(
        partial(_values, trace_id_in), (), _strings("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ),
    "vkey": Target(
        lambda data: _read_vkey(data, b"\x01"), (FormatError, UnicodeDecodeError), lambda: [_log_key().encode()]
    ),
    "witness_key": Target(
        lambda data: _read_vkey(data, COSIGNATURE_TYPE),
        (FormatError, UnicodeDecodeError),
        lambda: [_vectors("notes")["witness_key"].encode()],
    ),
    **{
        name.lower(): _message_target(getattr(messages, name))
        for name in _MESSAGES
    },
}  # fmt: skip
"""All targets by name."""

if is_installed("tus"):
    from agent.coordinator.features.tus.headers import parse_checksum, parse_metadata

    TARGETS["checksum"] = Target(
        partial(_values, parse_checksum), (ApiError,), _strings("sha256 " + "A" * 43 + "=")
    )
    TARGETS["upload_metadata"] = Target(
        partial(_values, parse_metadata), (ApiError,), _strings("filename YS5tcDQ=,filetype")
    )
