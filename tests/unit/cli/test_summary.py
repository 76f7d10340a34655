"""The coordinator's line on a terminal."""

from __future__ import annotations

from agent.cli.summary import summary


def test_one_line_says_how_many_miners_and_jobs_there_are() -> None:
    miners = [
        {"online": True, "paused": None},
        {"online": True, "paused": "by hand"},
        {"online": False, "paused": None},
    ]
    assert summary({"miners": [], "jobs": {}}) == "miners: 0 of 0 online; jobs: none yet"
    found = {"miners": miners, "jobs": {"running": 2, "completed": 40, "failed": 0}}
    assert summary(found) == "miners: 2 of 3 online, 1 paused; jobs: 40 completed, 2 running"
