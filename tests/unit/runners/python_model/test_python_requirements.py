"""Clients' requirements: only wheels of the owner's index, in the sandbox, within the quota."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import http.server
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.api import Fail, Retry
from runners.errors import Fault
from runners.python_model import environment as python_environment
from runners.python_model.environment import environment
from runners.python_model.index import index
from runners.sandbox import files


def wheel(
    name: str, version: str = "1.0", *, requires: str | None = None, content: bytes = b"VALUE = 1\n"
) -> bytes:
    """Return a wheel with one module and optionally one requirement."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if requires is not None:
        metadata += f"Requires-Dist: {requires}\n"
    members = {
        f"{name}.py": content,
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for path, data in members.items()
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, data in {**members, f"{info}/RECORD": (record + f"{info}/RECORD,,\n").encode()}.items():
            archive.writestr(path, data)
    return packed.getvalue()


class Server:
    """An HTTP server on loopback: files by path, and the requested paths."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requested: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, *, with_body: bool) -> None:
                outer.requested.append(self.path)
                body = outer.files.get(self.path.partition("#")[0])
                self.send_response(404 if body is None else 200)
                self.send_header(
                    "Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream"
                )
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write((body or b"") if with_body else b"")

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def offer(self, *wheels: tuple[str, bytes]) -> None:
        """Serve a package index with these wheels, by package name."""
        for name, content in wheels:
            file = f"{name}-1.0-py3-none-any.whl"
            digest = hashlib.sha256(content).hexdigest()
            self.files[f"/simple/{name}/"] = f'<a href="/files/{file}#sha256={digest}">{file}</a>'.encode()
            self.files[f"/files/{file}"] = content

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[type[Server]]:
    started: list[Server] = []

    def start() -> Server:
        started.append(Server())
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def owners(serve, monkeypatch, tmp_path) -> Server:
    """The owner's index, set in the owner's pip.conf."""
    server = serve()
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {server.url}/simple/\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_NO_INDEX", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setattr(
        "runners.python_model.index._files", lambda: iter([config])
    )  # this machine's own settings would come first
    return server


@pytest.fixture
def tools(tools, tmp_path):
    """Environments of its own, whose number and size the test decides."""
    return dataclasses.replace(tools, cache_dir=tmp_path / "own")


@pytest.fixture
def install(tools, make_context):
    """Make an environment; return its directory and the settings of uv."""

    def run(*requirements, **settings):
        chosen = dataclasses.replace(tools, **settings)
        with environment(chosen, requirements, make_context({}, timeout=60), lambda _: None) as directory:
            return directory

    return run


def store(tools) -> Path:
    return tools.cache_dir / "python-environments"


def test_wheels_of_the_owners_index_are_installed_with_their_dependencies(install, owners):
    owners.offer(("wanted", wheel("wanted", requires="needed>=1")), ("needed", wheel("needed")))
    directory = install("wanted")
    found = {path.name for path in directory.glob("packages/*.py")}
    assert {"wanted.py", "needed.py"} <= found
    before = len(owners.requested)
    assert install("wanted") == directory
    assert len(owners.requested) == before, "an existing environment is reused"


@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
def test_attack_a_wheel_that_depends_on_an_address(install, owners, serve, tmp_path, kind):
    """Nothing is fetched from that address, and no build backend runs."""
    attackers = serve()
    ran = tmp_path / "ran"
    setup = f"open({str(ran)!r}, 'w')\nfrom setuptools import setup\nsetup(name='evil', version='1.0')\n"
    attackers.files["/evil-1.0.tar.gz"] = setup.encode()
    attackers.files["/evil-1.0-py3-none-any.whl"] = wheel("evil")
    file = "evil-1.0.tar.gz" if kind == "tar.gz" else "evil-1.0-py3-none-any.whl"
    owners.offer(("bait", wheel("bait", requires=f"evil @ {attackers.url}/{file}")))
    with pytest.raises(Fail) as caught:
        install("bait")
    assert caught.value.code == "REQUIREMENTS_FAILED"
    assert "evil" in str(caught.value)
    assert attackers.requested == []
    assert not ran.exists()


def test_attack_a_package_that_would_have_to_be_built(install, owners, tmp_path):
    owners.files["/simple/built/"] = b'<a href="/files/built-1.0.tar.gz">built-1.0.tar.gz</a>'
    owners.files["/files/built-1.0.tar.gz"] = b"never opened"
    with pytest.raises(Fail) as caught:
        install("built")
    assert caught.value.code == "REQUIREMENTS_FAILED"


@pytest.mark.ship
def test_attack_a_wheel_without_end_is_stopped_by_its_size(install, owners, tools):
    owners.offer(("large", wheel("large", content=b"#" * (30 * 2**20))))
    with pytest.raises(Fail) as caught:
        install("large", max_environment=20 * 2**20)
    assert caught.value.code == "REQUIREMENTS_FAILED"
    assert not [path for path in store(tools).iterdir() if path.is_dir() and path.name != "fetched"]


def test_an_unreachable_index_is_not_an_input_error(install, owners, monkeypatch):
    owners.close()
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(Retry) as caught:
        install("wanted")
    assert caught.value.code == "REQUIREMENTS_UNAVAILABLE"


def test_the_owners_variables_and_files_stay_outside(install, owners, monkeypatch, tmp_path):
    """Its own configuration, a netrc file and credentials in the environment do not reach uv."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "private")
    assert not {"AWS_SECRET_ACCESS_KEY", "HOME"} & set(index().environment)
    owners.offer(("wanted", wheel("wanted")))
    install("wanted")


@pytest.mark.ship
def test_environments_and_packages_stay_within_the_quota(install, owners, tools):
    """The least recently used environments are removed, except those in use."""
    size = 6 * 2**20
    names = [f"package{number}" for number in range(5)]
    owners.offer(*((name, wheel(name, content=os.urandom(size).hex().encode()[:size])) for name in names))
    limits = {"max_environment": 16 * 2**20, "environments_quota": 40 * 2**20}
    made = []
    for number, name in enumerate(names):
        made.append(install(name, **limits))
        os.utime(
            made[-1] / "complete", (number, number)
        )  # in this order, independent of the clock resolution
        assert files.measure([store(tools)], size=2**40, files=10**6) <= limits["environments_quota"]
        if number == 2:
            os.utime(made[0] / "complete", (100, 100))
    assert made[-1].exists()
    assert made[0].exists(), "it was used last"
    assert not made[1].exists()


def test_an_environment_in_use_is_not_removed(tools, owners, make_context):
    owners.offer(("first", wheel("first")), ("second", wheel("second")))
    small = dataclasses.replace(tools, max_environment=2**19, environments_quota=2**19)
    with environment(small, ["first"], make_context({}, timeout=60), lambda _: None) as held:
        with (
            pytest.raises(Retry) as caught,
            environment(small, ["second"], make_context({}, timeout=60), lambda _: None),
        ):
            pass
        assert "environments_quota" in str(caught.value)
        assert held.exists()


def test_installations_of_other_jobs_are_not_the_machines_fault(tools, make_context):
    """A client that installs for long could otherwise take the machine out of service for others."""
    store(tools).mkdir(parents=True)
    path, waiting = store(tools) / "install", make_context({}, timeout=0.01)
    with (
        python_environment._locked(path, 2, make_context({}, timeout=60), lambda _: None),
        pytest.raises(Retry, match="taking too long to install") as caught,
        environment(tools, ["a"], waiting, lambda _: None),
    ):
        pass
    assert caught.value.fault is Fault.NEITHER


def test_progress_is_reported_while_waiting_for_another_installation(tools, owners, make_context):
    """A waiting job is not considered hung, and its time in the slot is metered."""
    owners.offer(("wanted", wheel("wanted")))
    store(tools).mkdir(parents=True)
    reports = threading.Semaphore(0)
    with python_environment._locked(
        store(tools) / "install", 2, make_context({}, timeout=60), lambda _: None
    ):
        thread = threading.Thread(
            target=lambda: environment(
                tools, ["wanted"], make_context({}, timeout=60), lambda _: reports.release()
            ).__enter__()
        )
        thread.start()
        assert all(reports.acquire(timeout=120) for _ in range(3))
    thread.join(60)
    assert not thread.is_alive()
