"""Files of this user alone: keys, and what a client remembers of sealed jobs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


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
