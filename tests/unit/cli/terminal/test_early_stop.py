"""Ctrl-C while `aitbc-agent start` still loads its modules: a normal stop, not a traceback or an error of `make start`."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

PROGRAM = "import sys; sys.argv[0] = 'aitbc-agent'; from agent.cli import main; main()"


@pytest.mark.parametrize(
    "module", ["typer", "agent.coordinator.store.schema.tables", "agent.coordinator.app"]
)
def test_ctrl_c_while_modules_load_is_a_normal_stop(tmp_path: Path, module: str) -> None:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        PROGRAM,
        "start",
        "--plain",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path),
    ]
    with subprocess.Popen(
        ["env", "--default-signal=INT", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == module:
                process.send_signal(signal.SIGINT)
                break
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0
    assert output in ("", "The agent has stopped.\n")
    assert "Traceback" not in errors
