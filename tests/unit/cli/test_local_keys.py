"""The agent's own account and administrator: a database gets them once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from agent.cli.local_keys import LocalKeys, local_keys
from agent.coordinator.app import build_context
from agent.coordinator.features.accounts import wallets
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.context import Context
from agent.core.errors import ConfigurationError
from agent.settings import Settings
from support.servers import postgres
from support.servers.databases import create_database

T = TypeVar("T")
FILES = ("log.key", "links.key")


class Machine:
    """A coordinator's data directory. Each use is a start of a coordinator on its database."""

    def __init__(self, data_dir: Path, url: str | None) -> None:
        self.directory = data_dir / "coordinator"
        self.keys_file = self.directory / "keys.json"
        self.url = url
        if url is None:
            create_database(self.directory / "coordinator.db")
        self._settings = Settings(
            data_dir=data_dir,
            artifacts={"url": (data_dir.parent / "artifacts").as_uri()},
            database={"url": url},
        )

    @contextmanager
    def started(self) -> Iterator[Context]:
        (self.directory.parent.parent / "artifacts").mkdir(exist_ok=True)
        context = build_context(self._settings)
        try:
            yield context
        finally:
            context.database.close()

    def start(self) -> LocalKeys:
        with self.started() as context:
            return asyncio.run(local_keys(context, self.keys_file))

    def do(self, work: Callable[[Context], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work(context)

        with self.started() as context:
            return asyncio.run(run())

    def issued(self) -> list[tuple[str, str]]:
        """Return the accounts with their balances."""
        page = self.do(lambda context: context.database.read(wallets.accounts, context, 50, None))
        return [(account.account_id, account.balance) for account in page.accounts]

    def valid_keys(self) -> list[str]:
        records = self.do(access.list_keys)
        return sorted(record.name for record in records if record.revoked_at is None)

    def copied_to(self, data_dir: Path, *names: str) -> Machine:
        """Return another machine on the same database with copies of these files."""
        machine = Machine(data_dir, self.url)
        machine.directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            (machine.directory / name).write_bytes((self.directory / name).read_bytes())
            (machine.directory / name).chmod(0o600)
        return machine


@pytest.fixture(params=["sqlite", "postgresql"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    url = postgres.shared().new_database() if request.param == "postgresql" else None
    return Machine(tmp_path / "first", url)


@pytest.fixture
def replica(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "first", postgres.shared().new_database())


def test_restarts_keep_keys_account_and_credit(machine: Machine) -> None:
    keys = machine.start()
    assert [machine.start() for _ in range(2)] == [keys, keys]
    assert machine.issued() == [(keys.account_id, "1000")]
    assert machine.valid_keys() == ["local administrator", "local client"]


def test_a_replica_without_the_keys_does_not_start_and_issues_nothing(
    replica: Machine, tmp_path: Path
) -> None:
    keys = replica.start()
    second = replica.copied_to(tmp_path / "second", *FILES)
    with pytest.raises(ConfigurationError, match=rf"{second.keys_file} is missing.*Copy keys\.json from"):
        second.start()
    assert not second.keys_file.exists()
    assert replica.issued() == [(keys.account_id, "1000")]
    assert replica.valid_keys() == ["local administrator", "local client"]
    second = replica.copied_to(tmp_path / "second", *FILES, "keys.json")
    assert second.start() == keys


def test_a_new_database_adopts_given_keys_once(tmp_path: Path) -> None:
    """As Kubernetes' secret gives them to all replicas, made on another database."""
    made = Machine(tmp_path / "elsewhere" / "data", None)
    keys = made.start()
    first = Machine(tmp_path / "first", postgres.shared().new_database())
    for name in (*FILES, "keys.json"):
        first.directory.mkdir(parents=True, exist_ok=True)
        (first.directory / name).write_bytes((made.directory / name).read_bytes())
        (first.directory / name).chmod(0o600)
    second = first.copied_to(tmp_path / "second", *FILES, "keys.json")

    async def at_once(one: Context, other: Context) -> list[LocalKeys]:
        return await asyncio.gather(local_keys(one, first.keys_file), local_keys(other, second.keys_file))

    with first.started() as one, second.started() as other:
        assert asyncio.run(at_once(one, other)) == [keys, keys]
    assert first.issued() == [(keys.account_id, "1000")]
    assert first.valid_keys() == ["local administrator", "local client"]


def test_a_machine_that_lost_the_file_gets_new_keys_of_the_same_account(tmp_path: Path) -> None:
    """Restored without it, for example. The lost keys end, and no money is issued."""
    machine = Machine(tmp_path / "first", None)
    lost = machine.start()
    machine.keys_file.unlink()
    keys = machine.start()
    assert keys.account_id == lost.account_id
    assert {keys.client_key, keys.admin_key}.isdisjoint({lost.client_key, lost.admin_key})
    assert machine.issued() == [(keys.account_id, "1000")]
    assert machine.valid_keys() == ["local administrator", "local client"]
    assert LocalKeys(**json.loads(machine.keys_file.read_text())) == keys


def test_replicas_that_all_lost_the_file_get_new_keys_after_the_administrators_were_revoked(
    replica: Machine,
) -> None:
    lost = replica.start()
    replica.keys_file.unlink()
    replica.do(
        lambda context: context.database.write(
            lambda connection: connection.exec_driver_sql(
                "UPDATE api_keys SET revoked_at = extract(epoch FROM now()) WHERE role = 'admin' AND revoked_at IS NULL"
            )
        )
    )
    keys = replica.start()
    assert keys.account_id == lost.account_id
    assert replica.issued() == [(keys.account_id, "1000")]
    assert replica.valid_keys() == ["local administrator", "local client"]
