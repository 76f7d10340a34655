"""The name of a miner whose owner has chosen none."""

from __future__ import annotations

import socket
from pathlib import Path

from agent.miner.identity import NAME_FILE, default_name, load_identity


def test_machines_with_one_host_name_have_different_names(tmp_path: Path) -> None:
    """It has the beginning of the miner's id, and stays when the host is renamed."""
    names = set()
    for directory in (tmp_path / "first", tmp_path / "second"):
        identity = load_identity(directory)
        name = default_name(directory)
        assert name == f"{socket.gethostname()}-{identity.miner_id.removeprefix('miner_')[:4]}"
        assert load_identity(directory).miner_id == identity.miner_id
        names.add(name)
    assert len(names) == 2
    (tmp_path / "first" / NAME_FILE).write_text("attic-ab3f\n")
    assert default_name(tmp_path / "first") == "attic-ab3f"


def test_a_miner_of_an_older_agent_is_called_like_its_host_as_before(tmp_path: Path) -> None:
    load_identity(tmp_path)
    (tmp_path / NAME_FILE).unlink()
    load_identity(tmp_path)
    assert default_name(tmp_path) == socket.gethostname()
