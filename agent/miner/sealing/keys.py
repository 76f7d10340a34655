"""The miner's key pairs for sealed jobs: created, rotated and signed here; the private keys never leave the data directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.atomic_file import replace_file
from agent.core.errors import ConfigurationError
from agent.core.values.quantities import format_time
from agent.miner.identity import Identity, read_private
from aitbc.canonical import b64decode, b64encode
from aitbc.dsse import sign_envelope
from aitbc.errors import FormatError
from aitbc.sealing import EncryptionKey
from aitbc.sealing.attestation import Attestation, make, nonce_of
from aitbc.sealing.keys import PAYLOAD_TYPE
from aitbc.sealing.suite import key_id

FILE: Final = "sealing_keys.json"
MAX_KEYS: Final = 8
DAY: Final = 86_400.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _KeyPair:
    """A key pair. Times are seconds since the epoch by this machine's clock."""

    private: X25519PrivateKey
    created_at: float
    expires_at: float

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    @property
    def id(self) -> str:
        return key_id(self.public)


@dataclass(eq=False)
class SealingKeys:
    """The key pairs, the newest first. A new one is made when the newest is `rotate_days` old; the others open jobs until they expire."""

    directory: Path
    identity: Identity
    _: KW_ONLY
    rotate_days: float
    grace_days: float
    attestation: tuple[str, Attestation]
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        """Read the file, or make the first key. Raises `ConfigurationError`."""
        self._path = self.directory / FILE
        self._rotate = self.rotate_days * DAY
        self._grace = self.grace_days * DAY
        self._attestation_type, self._attestation = self.attestation
        self._signed: dict[tuple[str, str], dict[str, Any]] = {}
        self._pairs = self._read()
        self.refresh()

    def refresh(self) -> None:
        """Make a new key if the newest is old enough, and delete expired ones. Raises `ConfigurationError`."""
        now = self.clock()
        # One slot stays free for a new key, since the coordinator accepts only so many.
        pairs = [pair for pair in self._pairs if pair.expires_at > now][: MAX_KEYS - 1]
        if not pairs or now - pairs[0].created_at >= self._rotate:
            private = X25519PrivateKey.generate()
            pairs.insert(0, _KeyPair(private, now, now + self._rotate + self._grace))
            _log.info("sealing_key_created", key_id=pairs[0].id, expires_at=format_time(pairs[0].expires_at))
        if pairs != self._pairs:
            self._pairs = pairs
            self._write()

    def find(self, identifier: str) -> X25519PrivateKey | None:
        """Return the private key with this id, None if there is none or it has expired."""
        now = self.clock()
        usable = (pair for pair in self._pairs if pair.id == identifier and pair.expires_at > now)
        chosen = next(usable, None)
        return None if chosen is None else chosen.private

    def published(self, origin: str) -> list[dict[str, Any]]:
        """Return the usable keys as capabilities contain them, the newest first, signed for a log; none before it is known."""
        if not origin:
            return []
        self.refresh()
        return [self._envelope(pair, origin) for pair in self._pairs]

    def _envelope(self, pair: _KeyPair, origin: str) -> dict[str, Any]:
        # An attestation may take the hardware a second, and this is part of every heartbeat.
        if (pair.id, origin) not in self._signed:
            key = EncryptionKey(
                miner_id=self.identity.miner_id,
                key_id=pair.id,
                public_key=pair.public,
                created_at=format_time(pair.created_at),
                expires_at=format_time(pair.expires_at),
                origin=origin,
            )
            nonce = nonce_of(self.identity.public_key, job_id=None, key_id=pair.id)
            self._signed[pair.id, origin] = {
                "envelope": sign_envelope(PAYLOAD_TYPE, key.to_payload(), self.identity.signing_key),
                "attestation": make(self._attestation_type, self._attestation, nonce),
            }
        return self._signed[pair.id, origin]

    def attest(self, job_id: str, identifier: str | None) -> dict[str, Any] | None:
        """Return what this machine attests for a job's statement; None without evidence. Blocking."""
        nonce = nonce_of(self.identity.public_key, job_id=job_id, key_id=identifier)
        return make(self._attestation_type, self._attestation, nonce)

    def _read(self) -> list[_KeyPair]:
        try:
            stored = orjson.loads(read_private(self._path))
            return [
                _KeyPair(
                    X25519PrivateKey.from_private_bytes(b64decode(item["private_key"])),
                    float(item["created_at"]),
                    float(item["expires_at"]),
                )
                for item in stored["keys"]
            ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be read: {error.strerror}.") from None
        except (FormatError, KeyError, TypeError, ValueError):
            raise ConfigurationError(
                f"{self._path} is damaged. Restore it from a backup, or delete it: sealed jobs that wait for this miner then fail."
            ) from None

    def _write(self) -> None:
        keys = [
            {
                "private_key": b64encode(pair.private.private_bytes_raw()),
                "created_at": pair.created_at,
                "expires_at": pair.expires_at,
            }
            for pair in self._pairs
        ]
        try:
            replace_file(self._path, orjson.dumps({"keys": keys}, option=orjson.OPT_INDENT_2), 0o600)
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be written: {error.strerror}.") from None
