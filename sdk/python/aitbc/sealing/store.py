"""The client's private files for sealed jobs: the one that holds its key pair, and how such files are created."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Final

from aitbc.canonical import b64decode, b64encode
from aitbc.errors import ConfigurationError, FormatError
from aitbc.sealing.keys import ReplyKey
from aitbc.sealing.private_files import create_private

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
