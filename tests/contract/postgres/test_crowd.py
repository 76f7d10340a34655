"""Random histories with real concurrency. `tests/chaos/replicas/test_postgres.py` plays longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.histories.crowd import Crowd
from support.server import serve

pytestmark = pytest.mark.system


def test_money_numbers_receipts_and_the_log_agree_after_a_concurrent_history(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True) as served:
        crowd = Crowd(served.context, seed=1, steps=400)
        served.do(lambda _: crowd.play())
        served.do(lambda _: crowd.check())
        assert crowd.done["deliver"] > 0
