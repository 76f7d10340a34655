"""Serves the dashboard: the files that its build has left below `web/dist`, and nothing else.

It is a program that runs in the browser and speaks the public API like any other client. So its pages need no key, and
every path below `/dashboard/` that is no file is the same page, which looks at the path itself.
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
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

BUILT: Final = Path(__file__).parents[1] / "web" / "dist"
PAGE: Final = "index.html"
HASHED: Final = "assets/"
"""Files below it have the digest of their content in their names."""
SMALLEST_COMPRESSED: Final = 512
"""Bytes; below, compressing saves no packet."""
_COMPRESSIBLE: Final = ("text/", "application/json", "application/manifest", "image/svg")
_TYPES: Final = {
    ".js": "text/javascript",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""What not every system's list of media types has right."""
_TAKES_GZIP: Final = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_NOT_FOUND: Final = 404

HEADERS: Final[Mapping[str, str]] = {
    # No script, style or connection but this origin's own. Results are shown from blobs, or from signed links of the same origin.
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
<p>This copy of the program has the dashboard's sources only. Run <code>make setup</code> (or
<code>npm ci &amp;&amp; npm run build</code>) in the project's directory, then load this page again.</p>
<p>The API works without it: <a href="/v1/health">/v1/health</a>, <a href="/v1/openapi.json">/v1/openapi.json</a>.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class _File:
    """A file in memory, as it is and compressed (None where that saves nothing). `read_at` tells when it was another."""

    read_at: tuple[int, int]
    body: bytes
    compressed: bytes | None
    media_type: str
    digest: str


class Dashboard(StaticFiles):
    """The ASGI application below `/dashboard`. It keeps the files in memory, of which a build makes a few hundred kB."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, check_dir=False)
        self._page = directory / PAGE
        self._files: dict[str, _File] = {}

    async def check_config(self) -> None:
        """A directory that is missing is explained by a page instead of an error."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or the page. Raises `HTTPException` for other methods than reading, and for hashed files that there are not."""
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != _NOT_FOUND:
                raise
            if not self._page.is_file():
                return HTMLResponse(_NOT_BUILT, headers={**HEADERS, "Cache-Control": "no-store"})
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
        """The file, compressed if the browser takes it; 304 if it has it already."""
        file = self._read(str(full_path), stat_result)
        asked = Headers(scope=scope)
        takes = _TAKES_GZIP.search(asked.get("accept-encoding", "")) is not None
        compressed = file.compressed if takes else None
        immutable = f"/{HASHED}" in scope["path"]
        headers = {
            **HEADERS,
            "Cache-Control": "public, max-age=31536000, immutable" if immutable else "no-cache",
            "ETag": f'"{file.digest}{"-gzip" if compressed else ""}"',
            "Vary": "Accept-Encoding",
        }
        if compressed is not None:
            headers["Content-Encoding"] = "gzip"
        body = file.body if compressed is None else compressed
        response = Response(body, status_code, headers, media_type=file.media_type)
        if self.is_not_modified(response.headers, asked):
            return NotModifiedResponse(response.headers)
        return response

    def _read(self, path: str, stat: os.stat_result) -> _File:
        known = self._files.get(path)
        read_at = (stat.st_mtime_ns, stat.st_size)
        if known is None or known.read_at != read_at:
            known = self._files[path] = _file(Path(path), read_at)
        return known


def _file(path: Path, read_at: tuple[int, int]) -> _File:
    body = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    compressed = None
    if media_type.startswith(_COMPRESSIBLE) and len(body) >= SMALLEST_COMPRESSED:
        compressed = gzip.compress(body, mtime=0)
    digest = hashlib.sha256(body).hexdigest()[:32]
    return _File(read_at, body, compressed, media_type, digest)


async def to_dashboard(_: Request) -> Response:
    """From the server's root to the dashboard."""
    return RedirectResponse("/dashboard/", headers=dict(HEADERS))
