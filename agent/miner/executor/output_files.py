"""Opens the files that a run has made. A run may have executed untrusted code, so that none may be a link to another file."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from runners.host.protocol import FileReference, ProtocolError


def open_output(reference: FileReference, output: Path) -> BufferedReader:
    """Open an output file below the directory `output`. Raises `ProtocolError` if it is no regular file there, `OSError`."""
    path = reference.below(output)
    # `resolve` follows links, so a path that it does not change contains none.
    if path.resolve(strict=True) != output.resolve(strict=True) / reference.path:
        raise ProtocolError("an output is reached through a link")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise ProtocolError("an output is not a regular file")
    return file
