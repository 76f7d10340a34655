"""Operators' commands on a coordinator whose database is on PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from agent.cli.application import app
from support.logged import complete, logged
from support.server import Served, serve

pytestmark = pytest.mark.system


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Return a stopped coordinator with receipts in its log; commands use its database."""
    with serve(tmp_path / "data", open_enrolment=True, log_checkpoint_seconds=0.1) as served:
        logged(served, complete(served, 3))
    monkeypatch.setenv("AITBC_DATABASE__URL", served.context.database.server.url)
    return served


def fsck(data: Path) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(app, ["fsck", "--data-dir", str(data), "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_fsck_checks_the_database_and_finds_damage(served: Served, tmp_path: Path) -> None:
    code, answer = fsck(tmp_path / "data")
    assert (code, answer["ok"], answer["receipts"]) == (0, True, 3)
    with psycopg.connect(served.context.database.server.url) as connection:
        connection.execute("UPDATE balances SET amount = amount + 1 WHERE ledger_account LIKE 'earned:%'")
    code, answer = fsck(tmp_path / "data")
    assert (code, answer["ok"]) == (3, False)


@pytest.mark.parametrize(("command", "program"), [("backup", "pg_dump"), ("restore", "pg_restore")])
def test_backups_are_left_to_the_server(served: Served, tmp_path: Path, command: str, program: str) -> None:
    done = CliRunner().invoke(app, [command, str(tmp_path / "backup"), "--data-dir", str(tmp_path / "data")])
    assert done.exit_code != 0
    assert program in str(done.exception) + done.output
    assert served.context.database.server.url not in done.output
