"""A PostgreSQL server of the tests' own, with as many databases as they need."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg

import agent.coordinator.installed  # noqa: F401 - their tables belong to the schema
from agent.coordinator.features.replicas.store.database import PostgresDatabase
from agent.coordinator.store.schema.upgrade import prepare

USER = "postgres"
START_SECONDS = 180
TEMPLATE = "empty"
_numbers = itertools.count(1)


def programs() -> Path:
    """Return the directory of the newest installed server's programs, or of the version or directory in TESTS_POSTGRESQL."""
    chosen = os.environ.get("TESTS_POSTGRESQL", "*")
    if "/" in chosen:
        return Path(chosen)
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"{chosen}/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if not found:
        raise RuntimeError("PostgreSQL's server is not installed: run scripts/setup tests.")
    return found[-1].parent


@dataclass
class Server:
    """A server on a Unix socket in its own directory. `settings` are those of its configuration."""

    directory: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Create its files, owned by a user who may run it."""
        if os.geteuid() == 0:
            shutil.chown(self.directory, USER, USER)
        self._run(
            "initdb", "-D", "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {"listen_addresses": "", "unix_socket_directories": str(self.directory), **self.settings}
        arguments = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as output:
            self.process = subprocess.Popen(
                [programs() / "postgres", "-D", "data", *arguments],
                cwd=self.directory, stdout=output, stderr=output, start_new_session=True, **self._user(),
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(USER)).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.directory / "log").read_text()) from None
                time.sleep(0.01)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends its connections, SIGQUIT ends it without a checkpoint, as a power cut does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(START_SECONDS)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{USER}@/{database}?host={quote(str(self.directory), safe='')}"

    def execute(self, statement: str, database: str = USER) -> list[tuple[Any, ...]]:
        """Execute a statement outside of a transaction and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = TEMPLATE) -> str:
        """Create a database with the current schema and return its URL."""
        name = f"test{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, ending its connections."""
        self.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [programs() / program, *arguments],
            cwd=self.directory,
            check=True,
            capture_output=True,
            **self._user(),
        )

    def _user(self) -> dict[str, Any]:
        return {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def running(**settings: Any) -> Iterator[Server]:
    """Run a server with an empty database of the current schema as the template of others. fsync is on."""
    directory = Path(tempfile.mkdtemp(prefix="pg", dir=os.environ.get("TMPDIR", "/tmp")))  # noqa: S108 - its path must be short
    server = Server(directory, settings)
    try:
        server.create()
        server.start()
        server.execute(f"CREATE DATABASE {TEMPLATE}")
        database = PostgresDatabase(server.url(TEMPLATE), directory=directory)
        database.open(prepare)
        database.close()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@functools.cache
def shared() -> Server:
    """Return the server of this process, which ends with it."""
    context = running()
    server = context.__enter__()
    atexit.register(context.__exit__, None, None, None)
    return server
