"""Fetches the input files of jobs. Clients choose them, so nothing about them is trusted.

Connections go only to checked addresses (`agent.network`), and each redirect is checked like the first address. Size and
time are limited during the transfer. Messages contain hosts, but neither their IP addresses, which would reveal the
owner's network to clients, nor whole URLs, which often contain a secret.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import re
import ssl
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpcore
import httpx
import structlog

from agent.core.values.addresses import is_host, is_web_port
from agent.miner.settings import InputSettings
from agent.miner.traffic import Traffic
from agent.network import (
    GuardedBackend,
    HostRefused,
    HostUnknown,
    LookupFailed,
    Network,
    internet,
)
from runners.api import Fail, FailureCode, Retry

ArtifactSource = Callable[[str], AbstractAsyncContextManager[httpx.Response]]
"""Opens an artifact ("sha256:<hex>") of the coordinator as a stream, with the session's token."""

_ARTIFACT: Final = re.compile(r"artifact:sha256:([0-9a-f]{64})")
_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 60.0
_BUFFER: Final = 2**20
_SMALL: Final = 64 * 2**10
"""Bytes that are written without a thread, which costs more than the system's cache."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({401, 408, 409, 425, 429})
"""Client errors that are temporary, or mean that this miner's session has ended: they do not concern the file."""

_log = structlog.get_logger(__name__)


class InputRefused(Fail):
    """No miner would fetch the client's file. `code` is INPUT_REFUSED, INPUT_TOO_LARGE or INPUT_UNAVAILABLE."""

    default_code = FailureCode.INPUT_REFUSED


class InputUnavailable(Retry):
    """The file could not be fetched now. This is no fault of this machine, since the client chose the server."""

    default_code = FailureCode.INPUT_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file on disk, with its hex SHA-256 and its size in bytes."""

    path: Path
    sha256: str
    size: int


async def fetch(
    reference: str | Mapping[str, Any],
    target: Path,
    *,
    artifacts: ArtifactSource,
    limits: InputSettings,
    network: Network | None = None,
    traffic: Traffic | None = None,
) -> FetchedFile:
    """Fetch the file that `reference` names to `target`, where nothing remains after an error.

    `reference` is "artifact:sha256:<hex>", an https address or `{"inline": text}`; `traffic` has the limits of the network. The content of an artifact is
    checked against its digest. Raises `InputRefused` if every miner would refuse it, `InputUnavailable` if a retry may
    succeed.
    """
    try:
        # For the whole file: a server that sends a byte a second would never exceed a limit for each read.
        async with (
            asyncio.timeout(limits.timeout_seconds),
            _Sink(target, int(limits.max_size), traffic) as sink,
        ):
            if isinstance(reference, Mapping):
                await sink.write(str(reference["inline"]).encode())
            elif match := _ARTIFACT.fullmatch(reference):
                await _fetch_artifact(f"sha256:{match[1]}", sink, artifacts)
                # The reference names the content, so the coordinator's bytes can be checked as well as anyone's.
                sink.expected = match[1]
            else:
                await _fetch_address(reference, sink, limits, network or internet())
            return await sink.finish()
    except TimeoutError:
        raise InputUnavailable(
            f"The input did not arrive within {limits.timeout_seconds:g} s. Use a faster server, or upload the file."
        ) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise InputUnavailable(
            f"The input could not be written to disk ({error.strerror}); "
            f"{'free space in' if full else 'check'} the miner's data directory.",
            code=FailureCode.DISK_FULL if full else FailureCode.DISK_FAULT,
        ) from error


class _Sink:
    """Writes a file, counts and hashes it, and removes it unless it is complete."""

    def __init__(self, target: Path, limit: int, traffic: Traffic | None = None) -> None:
        self._traffic = traffic
        self._target = target
        self._complete = False
        self._limit = limit
        self._size = 0
        self.expected: str | None = None
        self._hash = hashlib.sha256()
        self._buffer = bytearray()

    async def __aenter__(self) -> Self:
        self._file = self._target.open("wb")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Waits for a write in another thread, since the file object has a lock of its own. On a full disk it fails
        # again, which can be ignored.
        with suppress(OSError):
            self._file.close()
        if not self._complete:
            self._target.unlink(missing_ok=True)

    def announce(self, length: str | None) -> None:
        """Refuse a file whose announced length is too large."""
        # Refused before gigabytes have arrived. A server that announces less is stopped while it sends.
        if length is not None and length.isdecimal() and int(length) > self._limit:
            raise self._too_large()

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise self._too_large()
        if self._traffic is not None:
            await self._traffic.received(len(data))
        self._buffer += data
        if len(self._buffer) >= _BUFFER:
            await self._flush()

    async def finish(self) -> FetchedFile:
        await self._flush()
        self._file.close()
        digest = self._hash.hexdigest()
        # An input that differs from its digest would make a signed statement about other data than the client's.
        if self.expected not in (None, digest):
            raise InputUnavailable("The content that the coordinator sent does not match the artifact's id.")
        self._complete = True
        return FetchedFile(self._target, digest, self._size)

    async def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        if len(data) <= _SMALL:
            self._store(data)
        else:  # in a thread, since a slow disk must not delay heartbeats
            await asyncio.to_thread(self._store, data)

    def _store(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)

    def _too_large(self) -> InputRefused:
        return InputRefused(
            f"The input is larger than {self._limit} bytes, this miner's limit. Send a smaller file.",
            code=FailureCode.INPUT_TOO_LARGE,
        )


async def _fetch_artifact(artifact_id: str, sink: _Sink, artifacts: ArtifactSource) -> None:
    try:
        async with artifacts(artifact_id) as response:
            _check_status(response.status_code, "The coordinator")
            await _receive(response.headers.get("content-length"), response.aiter_bytes(), sink)
    except httpx.HTTPError as error:
        raise InputUnavailable(
            f"The coordinator did not send the artifact ({type(error).__name__})."
        ) from error


async def _fetch_address(address: str, sink: _Sink, limits: InputSettings, network: Network) -> None:
    url = _parse(address)
    guard = GuardedBackend(network, allow_private=limits.allow_private)
    async with httpcore.AsyncConnectionPool(ssl_context=network.tls, network_backend=guard) as pool:
        for _ in range(limits.max_redirects + 1):
            # Every hop, because a public address may redirect to one that is not.
            _check_url(url, limits)
            location = await _fetch_hop(pool, url, sink)
            if location is None:
                return
            url = _parse(location, base=url)
    raise InputRefused(
        f"The input's address redirects more than {limits.max_redirects} times. Give the file's final address."
    )


async def _fetch_hop(pool: httpcore.AsyncConnectionPool, url: httpx.URL, sink: _Sink) -> str | None:
    """Fetch the file into `sink` and return None, or return where the server redirects to."""
    request = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    # Uncompressed: a small compressed file may unpack to any size.
    headers = [("User-Agent", "aitbc-agent"), ("Accept", "*/*"), ("Accept-Encoding", "identity")]
    timeouts = {
        "connect": _CONNECT_SECONDS,
        "read": _READ_SECONDS,
        "write": _READ_SECONDS,
        "pool": _CONNECT_SECONDS,
    }
    try:
        async with pool.stream("GET", request, headers=headers, extensions={"timeout": timeouts}) as response:
            answer = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
            }
            if response.status in _REDIRECTS and "location" in answer:
                return answer["location"]
            _check_status(response.status, url.host)
            # The server ignores what was requested, and decoding it would hash other bytes than the client sees.
            if answer.get("content-encoding", "identity").lower() != "identity":
                raise InputRefused(
                    f"{url.host} sends the input compressed. Give an address that sends the file itself."
                )
            await _receive(answer.get("content-length"), response.aiter_stream(), sink)
            return None
    except HostRefused as error:
        raise InputRefused(f"{error}. Give a public address, or upload the file.") from None
    except HostUnknown as error:
        raise InputRefused(
            f"{error}. Check the input's address.", code=FailureCode.INPUT_UNAVAILABLE
        ) from None
    except LookupFailed as error:
        raise InputUnavailable(f"{error}.") from error
    except httpcore.ConnectError as error:
        # The pool raises its errors again `from None`, so the reason is the context instead of the cause.
        if isinstance(error.__context__, ssl.SSLCertVerificationError):
            raise InputRefused(
                f"The certificate of {url.host} is not valid ({error.__context__.verify_message.rstrip('.')}). "
                "Use a server with a valid one, or upload the file."
            ) from None
        raise InputUnavailable(f"{url.host} could not be reached. Check the input's address.") from error
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise InputUnavailable(
            f"{url.host} closed the connection or did not answer ({type(error).__name__})."
        ) from error


async def _receive(length: str | None, chunks: AsyncIterable[bytes], sink: _Sink) -> None:
    sink.announce(length)
    async for chunk in chunks:
        await sink.write(chunk)


def _check_status(status: int, who: str) -> None:
    if status == httpx.codes.OK:
        return
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in _TRANSIENT:
        raise InputUnavailable(f"{who} answered {status} for the input.")
    raise InputRefused(
        f"{who} answered {status} for the input. Check the address, and that it requires no login.",
        code=FailureCode.INPUT_UNAVAILABLE,
    )


def _parse(address: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        url = httpx.URL(address) if base is None else base.join(address)
        if (
            url.scheme and is_host(url.raw_host.decode("ascii")) and url.host
        ):  # `host` decodes international names
            return url
    except (httpx.InvalidURL, UnicodeError):
        pass
    raise InputRefused("The input's address is not a complete URL. Write it like https://example.com/file.")


def _check_url(url: httpx.URL, limits: InputSettings) -> None:
    allowed = ("https", "http") if limits.allow_http else ("https",)
    if url.scheme not in allowed:
        raise InputRefused(
            f"The input's address begins with {url.scheme}://. Give one that begins with "
            f"{' or '.join(f'{scheme}://' for scheme in allowed)}, or upload the file."
        )
    if url.userinfo:
        raise InputRefused("The input's address contains a login. Give one without, or upload the file.")
    if not is_web_port(url.port):
        raise InputRefused(f"The input's address has port {url.port}. Use 443, 80 or one from 1024 to 65535.")
