"""A release of the working tree, built as its publisher builds it and signed by the tests' key, and a server that makes it a package index.

It is below `build/releases`, and built again only if the sources have changed.
"""

from __future__ import annotations

import fcntl
import functools
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nacl.signing import SigningKey

from agent import __version__
from aitbc.canonical import b64encode
from support.scripts import SCRIPTS

ROOT = SCRIPTS.parent
KEY = SigningKey(b"the key of releases in the tests")
PUBLIC_KEY = b64encode(bytes(KEY.verify_key))
"""In the form of `updates.public_keys`."""
SECONDS = 1800
UNUSED_SECONDS = 86_400


def built(version: str = __version__, *options: str) -> Path:
    """Return the folder of a release, which is built if that has not been done. `options` are further ones of `scripts/release`."""
    releases = ROOT / "build/releases"
    releases.mkdir(parents=True, exist_ok=True)
    out = releases / "-".join((_tree()[:12], *(option.strip("-") for option in options)))
    with (releases / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _delete_unused(releases)
        folder = out / version
        if not folder.exists():
            _build(version, out, *options)
        folder.touch()
    return folder


def release(*options: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `scripts/release`."""
    return subprocess.run(
        [SCRIPTS / "release", *options], capture_output=True, text=True, timeout=SECONDS, check=False
    )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as any static HTTP server does. Yields the address of its package index."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple/"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _tree() -> str:
    sys.path.append(str(SCRIPTS / "releasing"))
    from source_tree import working_tree  # noqa: PLC0415 - in a folder of scripts

    return working_tree(ROOT).tree


def _build(version: str, out: Path, *options: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        key = Path(directory, "key")
        key.write_text(b64encode(bytes(KEY)))
        words = ("--changed", "--key", key, "--public-key", PUBLIC_KEY, "--version", version, "--out", out)
        done = release(*words, *options)
    assert done.returncode == 0, done.stdout + done.stderr


def _delete_unused(releases: Path) -> None:
    for folder in releases.glob("*/*"):
        if folder.is_dir() and folder.stat().st_mtime < time.time() - UNUSED_SECONDS:
            shutil.rmtree(folder.parent)
