"""A stream resumes after hundreds of drops."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.clients.dropping import TOLERANT, check_drops
from support.clients.scripted_miner import ScriptedMiner
from support.server import serve

pytestmark = pytest.mark.chaos


def test_a_client_that_drops_200_times_during_2000_jobs_receives_every_change_once_and_in_order(
    tmp_path: Path,
) -> None:
    """It drops at moments that a seed decides, mostly amid live messages."""
    with serve(tmp_path / "data", open_enrolment=True, **TOLERANT) as served:
        miner = ScriptedMiner(served.url)
        assert miner.register().status_code == 200
        check_drops(served, miner, jobs=2000, drops=200)
