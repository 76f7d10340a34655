"""Wheels that tests build, and an index that serves them over HTTP and can hold one back."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path

HOST_PACKAGES = (
    "annotated-types", "psutil", "pydantic", "pydantic-core", "pyseccomp", "typing-extensions", "typing-inspection",
)  # fmt: skip
"""What the host of a runner imports."""

_BEGUN_ARCHIVE = (
    b"PK\3\4" + struct.pack("<5H3I2H", 20, 0, 0, 0, 0, 0, 2**32 - 2, 2**32 - 2, 8, 0) + b"data.bin"
)
"""The start of a zip file whose only member, which is not compressed, has nearly 4 GiB."""

_LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def build(
    directory: Path, name: str, version: str, files: Mapping[str, bytes], *, requires: Sequence[str] = ()
) -> Path:
    """Build a wheel for any Python that contains these files and requires these packages."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {package}\n" for package in requires)
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return _write(directory / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", {**files, **metadata})


def repack(directory: Path, name: str) -> Path:
    """Build the wheel of an installed package from its files."""
    found = distribution(name)
    files = {
        str(path): Path(found.locate_file(path)).read_bytes()
        for path in found.files or ()
        if "__pycache__" not in path.parts and not str(path).startswith("..") and path.name not in _LEFT_OUT
    }
    tag = next(
        line.partition(": ")[2]
        for line in (found.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    )
    return _write(directory / f"{name.replace('-', '_')}-{found.version}-{tag}.whl", files)


def locked(wheel: Path) -> str:
    """Return the lines of a lock file for a wheel."""
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def _write(path: Path, files: Mapping[str, bytes]) -> Path:
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
        for name, content in files.items()
    )
    info = next(name.partition("/")[0] for name in files if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


class Index:
    """The wheels of a directory at `url`. Wheels in `held` are served once `go_on` is set; `asked` counts the requests.

    The wheels in `endless`, and the list of all wheels if `""` is among them, never end.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.held: set[str] = set()
        self.endless: set[str] = set()
        self.go_on = threading.Event()
        self.waiting = threading.Event()
        self.asked: Counter[str] = Counter()
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[Index]:
        server = _Server(self)
        self.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.go_on.set()
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, index: Index) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.index = index


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_HEAD(self) -> None:
        self._begin()

    def do_GET(self) -> None:
        content = self._begin()
        name = self.path.strip("/")
        package = name.partition("-")[0]
        index = self.server.index
        if package in index.endless:
            self._send_for_ever(_BEGUN_ARCHIVE if name else content)
            return
        if name:
            index.asked[package] += 1
        if package in index.held:
            self.wfile.write(content[: len(content) // 2])
            index.waiting.set()
            index.go_on.wait(60)
            content = content[len(content) // 2 :]
        self.wfile.write(content)

    def _begin(self) -> bytes:
        """Send the head of the answer. Return its body."""
        name = self.path.strip("/")
        directory = self.server.index.directory
        if not name:
            links = "".join(f'<a href="/{path.name}">{path.name}</a>' for path in directory.iterdir())
            content, kind = f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html"
        elif (directory / name).is_file():
            content, kind = (directory / name).read_bytes(), "application/octet-stream"
        else:
            self.send_error(404)
            return b""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if name.partition("-")[0] not in self.server.index.endless:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def _send_for_ever(self, content: bytes) -> None:
        with suppress(OSError):  # the client has given up
            self.wfile.write(content)
            while True:
                self.wfile.write(b" " * 2**16)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
