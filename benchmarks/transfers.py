"""A large file through S3: the memory and the network traffic of the coordinator while a client sends and fetches it.

    npm install --prefix build/s3rver s3rver
    .venv/bin/python benchmarks/transfers.py [--size 5e9] [--s3rver build/s3rver/node_modules/.bin/s3rver] [--json]

Starts s3rver, which writes to the disk, behind a proxy that checks SHA-256 as S3 does (`measuring/checking_proxy.py`) and counts the
bytes of each program, and a real `aitbc-agent coordinator`. The Python client, in a process of its own, uploads a sparse file and
downloads it again: in one request, whose digest the service checks; in parts, which the coordinator reads once to check them; and
through the coordinator, as it is without direct transfers. Traffic between client and coordinator is counted by another proxy. The
memory is the coordinator's resident set, sampled ten times a second. Needs three times the size on the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from measuring.ports import reserved_port, wait_for_port
from measuring.processes import coordinator, cpu_seconds

HERE = Path(__file__).parent
BUCKET = "artifacts"
KEY = "S3RVER"
CLIENT = """
import sys, time
from aitbc import AITBCClient
file, copy = sys.argv[1:]
with AITBCClient(timeout=300) as client:
    begun = time.monotonic()
    artifact = client.artifacts.upload(file)
    stored = time.monotonic()
    client.artifacts.download(artifact.artifact_id, copy)
    fetched = time.monotonic()
    client.artifacts.delete(artifact.artifact_id)
print(stored - begun, fetched - stored)
"""
WAYS = {
    "one request": {},
    "parts": {"AITBC_ARTIFACTS__MAX_WHOLE": "0"},
    "through the coordinator": {"AITBC_ARTIFACTS__DIRECT": "false"},
}


def main() -> None:
    """Measure every way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=float, default=5e9, help="bytes of the file")
    parser.add_argument("--s3rver", default="build/s3rver/node_modules/.bin/s3rver", help="path of s3rver")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--directory", type=Path, help="where the data is, if not in the temporary directory")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        root = Path(name)
        file = root / "file"
        with file.open("wb") as sparse:
            sparse.write(b"the beginning")
            sparse.truncate(int(options.size))
        results = {way: measure(root, file, options.s3rver, WAYS[way], way) for way in options.ways}
    if options.json:
        print(json.dumps({"size": int(options.size), "ways": results}))
        return
    print(f"{options.size / 1e9:g} GB up and down")
    for way, result in results.items():
        print(f"{way}: " + ", ".join(f"{value:.1f} {name}" for name, value in result.items()))


def measure(root: Path, file: Path, s3rver: str, settings: dict[str, str], way: str) -> dict[str, float]:
    """Return the figures of one way."""
    data = root / way.replace(" ", "-")
    with bucket(data / "s3", s3rver) as endpoint:
        environment = {
            "AITBC_ARTIFACTS__URL": f"s3://{BUCKET}", "AITBC_ARTIFACTS__ENDPOINT": endpoint, "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY, **settings,
        }  # fmt: skip
        with coordinator(data / "agent", environment) as running:
            before = httpx.get(f"{endpoint}/_bytes").json()
            memory = Memory(running.process.pid)
            processor = cpu_seconds(running.process.pid)
            with counting_proxy(running.url) as (url, counted), memory.sampled():
                keys = {"AITBC_BASE_URL": url, "AITBC_API_KEY": running.content["client_key"]}
                command = [sys.executable, "-c", CLIENT, str(file), str(data / "copy")]
                done = subprocess.run(
                    command, env={**os.environ, **keys}, capture_output=True, text=True, check=True
                )
            assert (data / "copy").stat().st_size == file.stat().st_size
            up, down = map(float, done.stdout.split())
            after = httpx.get(f"{endpoint}/_bytes").json()
            store = sum(
                after[name] - before.get(name, 0) for name in after if not name.startswith("aitbc-python")
            )
            processor = cpu_seconds(running.process.pid) - processor
    shutil.rmtree(data)
    return {
        "s up": up, "s down": down, "MB of memory before": memory.first / 1e6, "MB at most": memory.most / 1e6,
        "MB between client and coordinator": counted[0] / 1e6, "MB between coordinator and bucket": store / 1e6,
        "s of the coordinator's processor time": processor,
    }  # fmt: skip


@contextmanager
def bucket(directory: Path, s3rver: str) -> Iterator[str]:
    """Run s3rver and its proxy. Yields the endpoint."""
    directory.mkdir(parents=True)
    with reserved_port() as inner, reserved_port() as outer:
        server: list[str | Path] = [
            s3rver, "-d", directory, "-p", str(inner), "-a", "127.0.0.1", "--silent", "--configure-bucket", BUCKET,
        ]  # fmt: skip
        checking_proxy = HERE / "measuring" / "checking_proxy.py"
        proxy: list[str | Path] = [
            sys.executable,
            checking_proxy,
            str(outer),
            f"http://127.0.0.1:{inner}",
        ]
        processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in (server, proxy)]
        try:
            for port in (inner, outer):
                wait_for_port(port)
            yield f"http://127.0.0.1:{outer}"
        finally:
            for process in processes:
                process.kill()
                process.wait()


class Memory:
    """The resident set of a process in bytes, sampled."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.first = self.most = self._process.memory_info().rss

    @contextmanager
    def sampled(self) -> Iterator[None]:
        """Sample until the end of the block."""
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(0.1):
                self.most = max(self.most, self._process.memory_info().rss)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def counting_proxy(url: str) -> Iterator[tuple[str, list[int]]]:
    """Forward connections to `url`, and count their bytes in both directions."""
    host, _, port = url.removeprefix("http://").partition(":")
    counted = [0]
    listener = socket.create_server(("127.0.0.1", 0))

    def forward(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(2**18):
                counted[0] += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=forward, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", counted
    finally:
        listener.close()


if __name__ == "__main__":
    main()
