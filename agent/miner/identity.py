"""The identity of this miner: the key that signs its results, and the owner's API keys for networks.

A user who can read the key can sign in this miner's name, so files that other users can read are refused.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
from nacl.signing import SigningKey

from agent.atomic_file import replace_file, sync_directory
from agent.core.errors import ConfigurationError
from aitbc.canonical import b64decode, b64encode
from aitbc.errors import FormatError
from aitbc.keys import miner_id

IDENTITY_FILE: Final = "identity.key"
NAME_FILE: Final = "name"
_ID_LETTERS: Final = 4

_SEED_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Identity:
    """A miner's Ed25519 key and the id derived from it."""

    signing_key: SigningKey = field(repr=False)
    public_key: bytes
    miner_id: str


def load_identity(directory: Path) -> Identity:
    """Return the identity in `directory` (DATA_DIR/miner), creating it on first use.

    Raises `ConfigurationError` if the key cannot be read or written, is damaged, or is readable by other users.
    """
    path = directory / IDENTITY_FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create_identity(path)
        seed = b64decode(read_private(path).decode("ascii").strip())
    except (FormatError, UnicodeDecodeError):
        raise ConfigurationError(_damaged(path)) from None
    except OSError as error:
        raise ConfigurationError(f"The miner's key {path} cannot be used: {error.strerror}.") from None
    if len(seed) != _SEED_SIZE:
        raise ConfigurationError(_damaged(path))
    key = SigningKey(seed)
    public_key = bytes(key.verify_key)
    return Identity(key, public_key, miner_id(public_key))


def default_name(directory: Path) -> str:
    """Return the name of a miner whose owner has chosen none: "HOST-ab3f", with the beginning of its id, so that machines of one host name differ.

    Miners that an agent before 0.3 has created are called like the host, as they were.
    """
    try:
        return (directory / NAME_FILE).read_text(encoding="utf-8").strip() or socket.gethostname()
    except (OSError, UnicodeDecodeError):
        return socket.gethostname()


def _create_identity(path: Path) -> None:
    key = SigningKey.generate()
    letters = miner_id(bytes(key.verify_key)).removeprefix("miner_")[:_ID_LETTERS]
    _create(path.with_name(NAME_FILE), f"{socket.gethostname()}-{letters}\n".encode())
    _create(path, b64encode(bytes(key)).encode() + b"\n")


def _damaged(path: Path) -> str:
    return (
        f"The miner's key {path} is damaged. Restore it from a backup, or delete it to start as a new miner."
    )


class ApiKeyStore:
    """The API keys of the networks that this miner has joined, by the origin of their log.

    A coordinator sends the key only once, when the miner joins, so it is saved in DATA_DIR/miner/api_key.json.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "api_key.json"

    def get(self, origin: str) -> str | None:
        """Return the key of a network. Raises `ConfigurationError` if the file is damaged or readable by other users."""
        return self._read().get(origin)

    def latest(self) -> str | None:
        """Return the key of the network that was joined last. Raises as `get`."""
        return next(reversed(self._read().values()), None)

    def put(self, origin: str, api_key: str) -> None:
        """Save a key durably. Raises `ConfigurationError` if it cannot be written."""
        keys = self._read() | {origin: api_key}
        try:
            replace_file(self._path, orjson.dumps(keys, option=orjson.OPT_INDENT_2), 0o600)
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be written: {error.strerror}.") from None

    def _read(self) -> dict[str, str]:
        try:
            keys = orjson.loads(read_private(self._path))
        except FileNotFoundError:
            return {}
        except orjson.JSONDecodeError:
            raise ConfigurationError(f"{self._path} is damaged. Delete it and create a new key.") from None
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be read: {error.strerror}.") from None
        return keys if isinstance(keys, dict) else {}


def read_private(path: Path) -> bytes:
    """Return the content of a file that only this user may read. Raises `ConfigurationError` if others may, `OSError`."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ConfigurationError(
                f"{path} can be read by other users (mode {mode:04o}). Run: chmod 600 {path}; "
                "if another user may have read it, delete it to start as a new miner."
            )
        return file.read()


def _create(path: Path, content: bytes) -> None:
    """Write a new file atomically. A file that another process has created meanwhile wins."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
    sync_directory(path.parent)
