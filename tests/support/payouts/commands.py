"""The commands of operators and owners beside a coordinator of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner

from agent.cli import agent_file
from agent.cli.agent_file import AgentFile
from agent.cli.application import app
from agent.miner.identity import IDENTITY_FILE
from agent.settings import Settings
from aitbc.canonical import b64encode
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served

Command = Callable[..., str]


@contextmanager
def commands(served: Served, data_dir: Path) -> Iterator[Command]:
    """Return a function that runs `aitbc-agent` beside this coordinator, and returns its output, after the coordinator's log."""
    settings = Settings(data_dir=data_dir)
    runner = CliRunner()

    def run(*words: str, code: int = 0, miner: ScriptedMiner | None = None) -> str:
        if miner is not None:
            path = settings.data_dir / "miner" / IDENTITY_FILE
            path.parent.mkdir(exist_ok=True)
            path.touch(0o600)
            path.write_text(b64encode(bytes(miner.key)))
        owner = miner.registration["api_key"] if miner is not None else None
        log_key = served.context.signer.vkey
        agent_file.write(
            settings, AgentFile(served.url, 1, None, log_key, served.client_key, owner, served.admin_key)
        )
        done = runner.invoke(app, [*words, "--data-dir", str(settings.data_dir)])
        assert done.exit_code == code, (done.output, done.exception)
        return done.output if code == 0 else f"{done.output}{done.exception}"

    with agent_file.exclusive(settings):
        yield run
