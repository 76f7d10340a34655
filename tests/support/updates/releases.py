"""Releases on a package index that is served by HTTP: signed manifests, and wheels made of others' or of a few lines."""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from agent.updates.manifest import MEMBER, Manifest, ReleaseFile, sign_manifest
from aitbc.canonical import b64encode

KEY = SigningKey(b"u" * 32)
PUBLIC_KEY = b64encode(bytes(KEY.verify_key))
SCHEMA = "0034"

Files = dict[str, bytes]


class Mirror:
    """A folder with releases and their index, as a static server serves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(
        self,
        version: str,
        wheels: Mapping[str, Files],
        requirements: str = "",
        *,
        keys: tuple[SigningKey, ...] = (KEY,),
        as_version: str | None = None,
        **fields: Any,
    ) -> Manifest:
        """Add a release: its wheels by the names of their distributions, and its signed manifest, `as_version` on the index.

        `fields` replace those of the manifest.
        """
        paths = [write_wheel(self.folder, name, version, files) for name, files in wheels.items()]
        described = [
            ReleaseFile(
                name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size
            )
            for path in paths
        ]
        manifest = Manifest.model_validate(
            {
                "version": version,
                "channel": "stable",
                "released_at": datetime(2026, 12, 1, tzinfo=UTC),
                "python": ">=3.11",
                "schema": SCHEMA,
                "reads_schema": SCHEMA,
                "files": described,
                "requirements": requirements,
                **fields,
            }
        )
        self.publish(as_version or version, sign_manifest(manifest, *keys))
        return manifest

    def publish(self, version: str, envelope: bytes) -> None:
        """Publish a manifest, and write the index of all that is there."""
        write_wheel(self.folder, "aitbc-release", version, {MEMBER: envelope})
        self.write_index()

    def write_index(self) -> None:
        """Write the pages of the index (PEP 503)."""
        by_project: dict[str, list[str]] = {}
        for path in sorted(self.folder.glob("*.whl")):
            by_project.setdefault(path.name.partition("-")[0].replace("_", "-"), []).append(path.name)
        for project, names in by_project.items():
            page = self.folder / "simple" / project / "index.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text("".join(f'<a href="../../{name}">{name}</a>\n' for name in names))

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve the folder. Yields the URL of its index."""
        handler = partial(_Handler, directory=str(self.folder))
        with _Server(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/simple/"
            finally:
                server.shutdown()
                thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Be silent about clients that have seen enough."""


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Be silent."""


def write_wheel(folder: Path, distribution: str, version: str, files: Files) -> Path:
    """Write a wheel with these files, and metadata unless they have their own."""
    name = distribution.replace("-", "_")
    information = f"{name}-{version}.dist-info"
    content = {
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n".encode(),
        f"{information}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **files,
    }
    record = "".join(f"{path},{_digest(data)},{len(data)}\n" for path, data in content.items())
    content[f"{information}/RECORD"] = f"{record}{information}/RECORD,,\n".encode()
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in content.items():
            archive.writestr(member, data)
    return path


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def renumbered(wheel: Path, version: str, change: Callable[[Files], None] = lambda _files: None) -> Files:
    """Return the content of a wheel of the agent or the SDK as that of another version, changed further by `change`."""
    name, old, *_ = wheel.name.split("-")
    with zipfile.ZipFile(wheel) as archive:
        files = {
            member.replace(f"{name}-{old}.dist-info", f"{name}-{version}.dist-info"): archive.read(member)
            for member in archive.namelist()
            if not member.endswith(("/RECORD", "/"))
        }
    metadata = f"{name}-{version}.dist-info/METADATA"
    files[metadata] = replaced(files[metadata], f"\nVersion: {old}\n", f"\nVersion: {version}\n")
    if "agent/__init__.py" in files:
        files["agent/__init__.py"] = replaced(
            files["agent/__init__.py"], f'__version__ = "{old}"', f'__version__ = "{version}"'
        )
    change(files)
    return files


def replaced(content: bytes, old: str, new: str) -> bytes:
    """Return a text with another one instead of a part that it has once."""
    assert content.count(old.encode()) == 1, old
    return content.replace(old.encode(), new.encode())


def small_agent(
    version: str, program: str = "", problems: str = "{}", prints: str | None = None
) -> dict[str, Files]:
    """Return the wheels of an agent that does nothing but answer what an update asks; `program` runs before that.

    `prints` is the version that it says it is, if that is another one.
    """
    code = f"""
import json, sys
{program}
def main():
    if "--try" in sys.argv:
        print(json.dumps({{"problems": {problems}}}))
    else:
        print("aitbc-agent {prints or version}")
"""
    information = f"aitbc_agent-{version}.dist-info"
    return {
        "aitbc-agent": {
            "small_agent.py": code.encode(),
            f"{information}/entry_points.txt": b"[console_scripts]\naitbc-agent = small_agent:main\n",
        },
        "aitbc": {},
    }
