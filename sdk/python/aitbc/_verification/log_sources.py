"""Sources of a log's files: a directory with a copy, or the log's URL."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

import httpx

from aitbc.errors import TransportError
from aitbc.notes import MAX_NOTE
from aitbc.tiles import MAX_BUNDLE

TIMEOUT_SECONDS = 30.0
_MISSING = (404, 410)


class LogSource(Protocol):
    """The files of a log, as c2sp.org/tlog-tiles defines them."""

    def read(self, path: str) -> bytes | None:
        """Return the file `checkpoint` or `tile/...`, or None if it does not exist. Raises `OSError` or `TransportError`."""
        ...


class LogDirectory:
    """A copy of a log: `checkpoint` and `tile/...` in one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None if it does not exist."""
        try:
            return (self._root / path).read_bytes()
        # A copy that is damaged in this way lacks the file as well.
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None


class LogAddress:
    """A log that is served over HTTP. `prefix` is its URL, such as `https://example.org/v1/log`. Use it as a context manager."""

    def __init__(self, prefix: str, *, trust_env: bool = True) -> None:
        self._prefix = prefix.rstrip("/")
        self._http = httpx.Client(
            timeout=TIMEOUT_SECONDS, trust_env=trust_env, verify=httpx.create_ssl_context()
        )

    def read(self, path: str) -> bytes | None:
        """Return the file's bytes, or None if it does not exist. Raises `TransportError`, also if the file is longer than allowed."""
        limit = MAX_NOTE if path == "checkpoint" else MAX_BUNDLE
        content = bytearray()
        try:
            with self._http.stream("GET", f"{self._prefix}/{path}") as answer:
                if answer.status_code in _MISSING:
                    return None
                if not answer.is_success:
                    raise TransportError(
                        f"{self._prefix}/{path} responded with HTTP status {answer.status_code}."
                    )
                for piece in answer.iter_bytes():
                    # Counted while it arrives: a server must not fill the memory with a file that it does not declare.
                    content += piece
                    if len(content) > limit:
                        raise TransportError(f"{self._prefix}/{path} is longer than {limit} bytes.")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransportError(f"{self._prefix}/{path} cannot be read: {error}") from error
        return bytes(content)

    def cosign(self, note: str) -> None:
        """Send a cosigned checkpoint to the log. Raises `TransportError`, with the log's response, if it refuses the checkpoint."""
        try:
            answer = self._http.post(
                f"{self._prefix}/cosignature", content=note.encode(), headers={"Content-Type": "text/plain"}
            )
        except httpx.HTTPError as error:
            raise TransportError(f"{self._prefix}/cosignature did not respond: {error}") from error
        if not answer.is_success:
            raise TransportError(f"{self._prefix} refused the cosignature: {answer.text[:500]}")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
