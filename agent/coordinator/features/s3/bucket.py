"""A bucket: its addresses, its credentials, its errors, and the calls that `obstore` does not have."""

from __future__ import annotations

import configparser
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import httpx

from agent.coordinator.blobs.store import path_of
from agent.coordinator.features.s3.settings import BucketSettings
from agent.coordinator.features.s3.signing import Credentials, presign
from agent.core.errors import ConfigurationError, ServiceUnavailable

_CALL_SECONDS: Final = 30
_CONNECT_SECONDS: Final = 5.0
_FIRST_ERROR: Final = 300
_KEY_NAMES: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


class StoreError(Exception):
    """The service refused a call. `code` is its error code, `message` its explanation."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code} ({status}): {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that its holder may make without a key until the URL expires. It must carry `headers`."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str]


class Bucket:
    """Signed requests to one bucket, and the calls of the coordinator itself. Names are below the prefix of the URL."""

    def __init__(self, url: str, settings: BucketSettings) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self.name = bucket
        self.prefix = prefix.strip("/")
        self.region = settings.region
        self.endpoint = settings.endpoint or f"https://s3.{settings.region}.amazonaws.com"
        scheme, _, host = self.endpoint.partition("://")
        self.path_style = (
            # Services on their own hosts rarely have a host name for each bucket; Amazon's has.
            settings.endpoint is not None if settings.path_style is None else settings.path_style
        )
        self.origin = self.endpoint if self.path_style else f"{scheme}://{bucket}.{host}"
        self._base = f"{self.origin}/{bucket}" if self.path_style else self.origin
        self.url_seconds = settings.url_seconds
        self._keys = _Keys(settings.credentials)
        self._client: httpx.AsyncClient | None = None

    @property
    def credentials(self) -> Credentials:
        """The current access key. Raises `ConfigurationError` if there is none."""
        return self._keys.current()

    def signed(
        self,
        method: str,
        name: str | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        unsent: Mapping[str, str] | None = None,
        seconds: int | None = None,
    ) -> SignedRequest:
        """Return a signed request for a blob, or for the bucket (None).

        `unsent` are headers that every HTTP client sends anyway.
        """
        path = "/" if name is None else f"/{self.key(name)}"
        url = presign(
            self.credentials, method, self._base + path, region=self.region, now=time.time(),
            seconds=seconds or self.url_seconds, query=query, headers={**(headers or {}), **(unsent or {})},
        )  # fmt: skip
        return SignedRequest(method, url, dict(headers or {}))

    def key(self, name: str) -> str:
        """Return the key of a blob."""
        path = path_of(name)
        return f"{self.prefix}/{path}" if self.prefix else path

    async def call(
        self, method: str, name: str | None, query: Mapping[str, str] | None = None, body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        limit: float = _CALL_SECONDS,
    ) -> httpx.Response:  # fmt: skip
        """Return the answer to a call, which the service may delay for `limit` seconds. Raises `StoreError`, and `ServiceUnavailable` if there is no answer."""
        # Long enough for the request itself, and for clocks that differ a little.
        signed = self.signed(method, name, query=query, headers=headers, seconds=2 * _CALL_SECONDS)
        try:
            response = await self._connected().request(
                method,
                signed.url,
                content=body,
                headers=signed.headers,
                timeout=httpx.Timeout(limit, connect=_CONNECT_SECONDS),
            )
        except httpx.HTTPError as error:
            raise unavailable(type(error).__name__) from None  # the error's request has the URL
        if response.status_code >= _FIRST_ERROR:
            raise _error(response)
        return response

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            # Made on first use, because a client belongs to the event loop in which it was made.
            self._client = httpx.AsyncClient()
        return self._client

    async def close(self) -> None:
        """Close all connections. The next call opens new ones, on the event loop that makes it."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class _Keys:
    """The access key, from a file that is read again when it changes, or from the environment."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: Credentials | None = None
        self._version: tuple[int, int] | None = None

    def current(self) -> Credentials:
        if self._path is None:
            values = [os.environ.get(name.upper()) for name in _KEY_NAMES]
            return _credentials(values, "the environment")
        try:
            stat = self._path.stat()
            # A file that is replaced may have the same time, but not the same number.
            version = (stat.st_mtime_ns, stat.st_ino)
            if self._read is None or version != self._version:
                self._read, self._version = _read(self._path), version
        except OSError as error:
            if self._read is not None:  # it is being replaced
                return self._read
            raise ConfigurationError(
                f"The file of `artifacts.credentials`, {self._path}, cannot be read: {error.strerror}."
            ) from None
        return self._read


def _read(path: Path) -> Credentials:
    # Secret keys may contain percent signs.
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeError):
        raise ConfigurationError(
            f"{path} is not a file of access keys. Write [default], aws_access_key_id = ..., aws_secret_access_key = ... on "
            "lines of their own."
        ) from None
    return _credentials([parser.get("default", name, fallback=None) for name in _KEY_NAMES], str(path))


def _credentials(values: list[str | None], source: str) -> Credentials:
    access, secret, token = values
    if not access or not secret:
        raise ConfigurationError(
            f"There is no access key for the bucket in {source}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file "
            "that has them in the setting `artifacts.credentials`."
        )
    return Credentials(access, secret, token or None)


def _error(response: httpx.Response) -> StoreError:
    try:
        root = ET.fromstring(response.content)  # noqa: S314 - the operator's own store
    except ET.ParseError:
        root = None
    return StoreError(
        response.status_code,
        text_of(root, "Code") or f"HTTP {response.status_code}",
        text_of(root, "Message") or "no explanation",
    )


def text_of(root: ET.Element | None, tag: str) -> str:
    """Return the text of the first element of this name in any namespace, or ""."""
    if root is None:
        return ""
    return next((element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == tag), "")


def unavailable(reason: str) -> ServiceUnavailable:
    """Return the error for a store that does not answer."""
    return ServiceUnavailable(
        f"The coordinator's store of files does not answer ({reason}); try again in a moment."
    )
