"""Serves the dashboard's built files below `web/dist`, and nothing else.

The dashboard runs in the browser and uses the public API like any other client. So its pages need no key, and every path below
`/dashboard/` that is not a file is the same page, which reads the path itself.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from agent.coordinator.features.browser.settings import BrowserSettings
from agent.coordinator.operations.context import Context
from agent.sections import section_of

BUILT: Final = Path(__file__).parents[3] / "web" / "dist"
PAGE: Final = "index.html"
HASHED: Final = "assets/"
"""Files below this path have the digest of their content in their names."""
SMALLEST_COMPRESSED: Final = 512
"""Bytes. Compressing smaller files saves no packet."""
_COMPRESSIBLE: Final = ("text/", "application/json", "application/manifest", "image/svg")
_TYPES: Final = {
    ".js": "text/javascript",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Media types that some systems' lists lack or have wrong."""
_ACCEPTS_GZIP: Final = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_NOT_FOUND: Final = 404

HEADERS: Final[Mapping[str, str]] = {
    # Scripts, styles and connections only from this origin. Results are shown from blobs, or from signed links of this origin.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_NOT_BUILT: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>AITBC</title>
<h1>The dashboard is not built</h1>
<p>This copy of the program has only the dashboard's sources. Run <code>make setup</code> in the
project's directory, then load this page again.</p>
<p>The API works without it: <a href="/v1/health">/v1/health</a>, <a href="/v1/openapi.json">/v1/openapi.json</a>.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    """A file in memory, plain and compressed (None if that saves nothing). `version` is its modification time and size."""

    version: tuple[int, int]
    body: bytes
    compressed: bytes | None
    media_type: str
    digest: str


class Dashboard(StaticFiles):
    """The ASGI application below `/dashboard`; `store` is the origin of the store that pages exchange files with, if there is one. It caches the files in memory; a build has a few hundred kB."""

    def __init__(self, directory: Path, store: str | None = None) -> None:
        super().__init__(directory=directory, check_dir=False)
        self._headers = dict(HEADERS) if store is None else with_store(store)
        self._page = directory / PAGE
        self._files: dict[str, _File] = {}

    async def check_config(self) -> None:
        """Accept a missing directory, which a page explains."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or the page. Raises `HTTPException` for methods that do not read, and for missing hashed files."""
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != _NOT_FOUND:
                raise
            if not self._page.is_file():
                return HTMLResponse(_NOT_BUILT, headers={**self._headers, "Cache-Control": "no-store"})
            # A missing script must not be answered with the page, which the browser would then try to run.
            if path.startswith(HASHED):
                raise
            return await super().get_response(PAGE, scope)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return the file, compressed if the browser accepts that; 304 if the browser has it."""
        file = self._read(str(full_path), stat_result)
        request = Headers(scope=scope)
        accepts = _ACCEPTS_GZIP.search(request.get("accept-encoding", "")) is not None
        # The compressed form has another tag, by which caches distinguish the forms.
        compressed = file.compressed if accepts else None
        immutable = f"/{HASHED}" in scope["path"]
        headers = {
            **self._headers,
            "Cache-Control": "public, max-age=31536000, immutable" if immutable else "no-cache",
            "ETag": f'"{file.digest}{"-gzip" if compressed else ""}"',
            "Vary": "Accept-Encoding",
        }
        if compressed is not None:
            headers["Content-Encoding"] = "gzip"
        body = file.body if compressed is None else compressed
        response = Response(body, status_code, headers, media_type=file.media_type)
        if self.is_not_modified(response.headers, request):
            return NotModifiedResponse(response.headers)
        return response

    def _read(self, path: str, stat: os.stat_result) -> _File:
        file = self._files.get(path)
        # Files are read once and again when they change, as during development.
        version = (stat.st_mtime_ns, stat.st_size)
        if file is None or file.version != version:
            file = self._files[path] = _file(Path(path), version)
        return file


def with_store(origin: str) -> dict[str, str]:
    """Return the headers of pages whose scripts also exchange files with the store at `origin`."""
    # Scripts of the dashboard send and fetch large files at the store directly.
    policy = re.sub(r"\b(connect-src) ", rf"\1 {origin} ", HEADERS["Content-Security-Policy"])
    return {**HEADERS, "Content-Security-Policy": policy}


def _file(path: Path, version: tuple[int, int]) -> _File:
    body = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    compressed = None
    if media_type.startswith(_COMPRESSIBLE) and len(body) >= SMALLEST_COMPRESSED:
        compressed = gzip.compress(body, mtime=0)
    digest = hashlib.sha256(body).hexdigest()[:32]
    return _File(version, body, compressed, media_type, digest)


async def _to_dashboard(_: Request) -> Response:
    """Redirect from the server's root to the dashboard."""
    return RedirectResponse("/dashboard/", headers=dict(HEADERS))


def routes(context: Context) -> list[BaseRoute]:
    """Return the routes of the pages; none if the settings disable the dashboard."""
    if not section_of(context.settings, BrowserSettings).dashboard:
        return []
    direct = context.files.blobs.direct
    return [
        Route("/", _to_dashboard),
        Route("/dashboard", _to_dashboard),
        Mount("/dashboard", Dashboard(BUILT, None if direct is None else direct.origin)),
        Mount("/reference", Dashboard(BUILT / "reference")),
    ]
