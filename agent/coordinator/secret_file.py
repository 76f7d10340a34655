"""Secrets that the coordinator creates once and stores in files of mode 0600."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from agent.atomic_file import replace_file
from agent.core.errors import ConfigurationError

SECRET_BYTES: Final = 32


def load_secret(path: Path) -> bytes:
    """Return the 32 random bytes at `path`, creating them if needed.

    Raises `ConfigurationError` if others can read them or the file is damaged.
    """
    return _read(path) if path.exists() else _make(path)


def _read(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(f"{path} can be read by others. Run: chmod 600 {path}")
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(f"{path} is not a key of {SECRET_BYTES} bytes. Restore it from your backup.")
    return secret


def _make(path: Path) -> bytes:
    secret = secrets.token_bytes(SECRET_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Atomic, so that a crash leaves either no key or a whole one.
    replace_file(path, secret, 0o600)
    return secret
