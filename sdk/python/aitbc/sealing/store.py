"""The client's private files for sealed jobs: the one that holds its key pair, and how such files are created."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from aitbc.canonical import b64decode, b64encode
from aitbc.errors import ConfigurationError, FormatError
from aitbc.sealing.keys import ReplyKey

FILE: Final = "sealing.json"
_OPEN: Final = 0o077


def load_reply_key(path: Path) -> ReplyKey:
    """Return the key pair in a file, which is created with a new one if it is missing, readable by this user alone.

    Without it, nobody can open the answers to earlier requests. Raises `ConfigurationError`.
    """
    try:
        if not path.exists():
            _create(path, ReplyKey())
        # A key that others could read may be known to them, and only the user can decide what that means.
        if path.stat().st_mode & _OPEN:
            raise ConfigurationError(f"{path} can be read by other users. Run: chmod 600 {path}")
        content = json.loads(path.read_text(encoding="utf-8"))
        return ReplyKey(b64decode(content["private_key"]))
    except (FormatError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is damaged. Restore it from a backup; without it, the answers to earlier sealed jobs cannot be opened."
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be used: {error.strerror}.") from error


def _create(path: Path, key: ReplyKey) -> None:
    content = {"private_key": b64encode(key.private_bytes()), "public_key": b64encode(key.public)}
    with suppress(FileExistsError):  # another process was faster
        create_private(path, json.dumps(content))


def create_private(path: Path, content: str) -> None:
    """Create a file whole or not at all, readable by this user alone. Raises `FileExistsError`, and never replaces a file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, it fails if the file exists: two programs that start together agree on one key.
        os.link(temporary, path)
    finally:
        temporary.unlink()
