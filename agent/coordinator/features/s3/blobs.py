"""A `BlobStore` in an S3 bucket, through `obstore`.

A stream becomes an object when its last byte has arrived, in parts of a few megabytes, so the memory needed does not depend on
its length.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from agent.coordinator.blobs.store import BLOBS, Cover, Found, Stored, bounded, lost, name_of
from agent.coordinator.features.s3.bucket import Bucket, unavailable
from agent.coordinator.features.s3.check import check_bucket
from agent.coordinator.features.s3.signing import Credentials
from agent.coordinator.features.s3.transfers import S3Transfers
from agent.core.errors import ApiError, ConfigurationError
from runners.extras import extra_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import S3Store

PIECE: Final = 8 * 2**20
"""Bytes that one request to the store sends or reads."""
UPLOADS_AT_ONCE: Final = 2
"""Pieces of one stream that are sent at the same time."""
REQUEST_SECONDS: Final = 600
"""How long a request may take, such as one that joins the parts of a large file."""
CONNECT_SECONDS: Final = 5
RETRIES: Final = 4
REMOVED_AT_ONCE: Final = 500
LISTED_AT_ONCE: Final = 1000


class S3Blobs:
    """A `BlobStore` in a bucket. Needs the extra `s3`; raises `ConfigurationError` without it."""

    def __init__(self, bucket: Bucket, *, max_size: int, direct: bool, max_whole: int) -> None:
        self._bucket = bucket
        self._max_size = max_size
        self._opened: tuple[Credentials, S3Store] | None = None
        self._check_installed()
        self._transfers = S3Transfers(bucket, max_whole)
        self._is_direct = direct

    def _check_installed(self) -> None:
        try:
            import obstore  # noqa: F401, PLC0415 - an extra
        except ImportError:
            raise ConfigurationError(
                "`artifacts.url` names a bucket, but the package obstore is not installed. Install it: "
                f"{extra_command('s3')}."
            ) from None

    @property
    def _store(self) -> S3Store:
        """The store with the current access key."""
        credentials = self._bucket.credentials
        # Temporary keys are replaced while the coordinator runs.
        if self._opened is None or self._opened[0] != credentials:
            self._opened = credentials, _open_store(self._bucket, credentials)
        return self._opened[1]

    @property
    def direct(self) -> S3Transfers | None:
        """How others exchange bytes with the bucket; None if the settings do not allow it."""
        return self._transfers if self._is_direct else None

    def open(self) -> None:
        """Check that the bucket can be written, read and listed. Raises `ConfigurationError`."""
        with ThreadPoolExecutor(max_workers=1) as thread:  # the event loop of this thread may be running
            self._transfers.verifies_sha256 = thread.submit(asyncio.run, check_bucket(self._bucket)).result()

    async def close(self) -> None:
        """Close connections."""
        await self._bucket.close()

    async def sweep(self, moment: float) -> int:
        """Abort the uploads in parts that began before `moment`. Return their number."""
        return await self._transfers.abort_older_than(moment)

    async def store(self, chunks: AsyncIterable[bytes], cover: Cover | None = None) -> Stored:
        """Store a stream. See `BlobStore`."""
        return await self.store_as(f"{BLOBS}/{secrets.token_hex(16)}", bounded(chunks, self._max_size, cover))

    async def store_as(self, name: str, chunks: AsyncIterable[bytes]) -> Stored:
        """Store a stream as the blob `name`, replacing it."""
        source = _HashedSource(chunks)
        # The library reports any failure of the stream as its own, so the stream remembers what really happened.
        with _errors(name, lambda: source.failure):
            await self._obstore.put_async(
                self._store, self._bucket.key(name), source.pieces(), chunk_size=PIECE, max_concurrency=UPLOADS_AT_ONCE
            )  # fmt: skip
        return Stored(f"sha256:{source.digest.hexdigest()}", source.size, name)

    async def put(self, name: str, data: bytes) -> None:
        """Store bytes as the blob `name`."""
        with _errors(name):
            await self._obstore.put_async(self._store, self._bucket.key(name), data, use_multipart=False)

    async def read(self, name: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Return an iterator over a range. See `BlobStore`."""
        # Read before the answer begins: a missing file then still becomes an error instead of a broken answer.
        first = await self._piece(name, start, min(PIECE, length)) if length else b""
        return self._pieces(name, first, start, length)

    async def _pieces(self, name: str, piece: bytes, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield the pieces, each while the next one is fetched."""
        while piece:
            start, length = start + len(piece), length - len(piece)
            following = (
                # The next piece is read while this one is sent, so that neither side waits for the other.
                asyncio.create_task(self._piece(name, start, min(PIECE, length))) if length > 0 else None
            )
            try:
                yield piece
                piece = await following if following is not None else b""
            finally:
                if following is not None:
                    following.cancel()

    async def _piece(self, name: str, start: int, length: int) -> bytes:
        with _errors(name):
            return bytes(
                await self._obstore.get_range_async(
                    self._store, self._bucket.key(name), start=start, length=length
                )
            )

    async def size(self, name: str) -> int | None:
        """Return the size of a blob in bytes, or None if it does not exist."""
        try:
            with _errors(name, missing=FileNotFoundError):
                return int((await self._obstore.head_async(self._store, self._bucket.key(name)))["size"])
        except FileNotFoundError:
            return None

    async def remove(self, names: Sequence[str]) -> None:
        """Remove blobs."""
        for start in range(0, len(names), REMOVED_AT_ONCE):
            # S3 removes at most a thousand objects with one request.
            keys = [self._bucket.key(name) for name in names[start : start + REMOVED_AT_ONCE]]
            try:
                with _errors(keys[0], missing=FileNotFoundError):
                    await self._obstore.delete_async(self._store, keys)
            except FileNotFoundError:  # some services report what was removed before
                continue

    async def listed(self) -> AsyncIterator[list[Found]]:
        """Yield all blobs, in batches."""
        prefix = self._bucket.prefix
        cut = len(prefix) + 1 if prefix else 0
        stream = self._obstore.list(self._store, prefix or None, chunk_size=LISTED_AT_ONCE)
        with _errors(prefix):
            async for batch in stream:
                yield [
                    Found(name_of(meta["path"][cut:]), meta["size"], meta["last_modified"].timestamp())
                    for meta in batch
                ]

    @property
    def _obstore(self) -> Any:
        import obstore  # noqa: PLC0415 - an extra

        return obstore


class _HashedSource:
    """Hashes and counts a stream while it is sent. `failure` is what ended it early."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = chunks
        self.digest = hashlib.sha256()
        self.size = 0
        self.failure: BaseException | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                if chunk:
                    self.digest.update(chunk)
                    self.size += len(chunk)
                    yield chunk
        except BaseException as error:
            # Also cancellation: the client may have left in the middle of the file.
            self.failure = error
            raise


@contextmanager
def _errors(
    name: str,
    failure: Callable[[], BaseException | None] = lambda: None,
    missing: type[Exception] | None = None,
) -> Iterator[None]:
    """Translate errors of the store: to that of the stream, if it failed; `missing` or `NotFound`; or `ServiceUnavailable`."""
    from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra

    try:
        yield
    except ApiError:
        raise
    except (BaseError, OSError, ValueError) as error:
        if (cause := failure()) is not None:
            raise cause from None
        if isinstance(error, FileNotFoundError):
            raise (missing(name) if missing else lost(name)) from None
        raise unavailable(type(error).__name__) from None  # its message may contain a URL
    except Exception:
        if (cause := failure()) is not None:
            raise cause from None
        raise


def _open_store(bucket: Bucket, credentials: Credentials) -> S3Store:
    from obstore.store import S3Store  # noqa: PLC0415 - an extra

    token: dict[str, Any] = {} if credentials.token is None else {"session_token": credentials.token}
    return S3Store(
        bucket.name,
        **token,
        access_key_id=credentials.access_key,
        secret_access_key=credentials.secret_key,
        # The library expects the bucket's own host if the bucket is not part of the path.
        endpoint=bucket.endpoint if bucket.path_style else bucket.origin,
        region=bucket.region,
        virtual_hosted_style_request=not bucket.path_style,
        client_options={
            "allow_http": bucket.endpoint.startswith("http://"),
            "timeout": f"{REQUEST_SECONDS}s",
            "connect_timeout": f"{CONNECT_SECONDS}s",
        },
        retry_config={"max_retries": RETRIES},
    )
