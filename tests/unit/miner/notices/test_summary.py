"""The owner's summary of a day or a week."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent import __version__
from agent.cli.application import app
from agent.configuring.reading import load_settings
from agent.miner.energy.account import FILE_NAME
from agent.miner.energy.history import History, JobRecord, Spent
from agent.miner.notices.summary import (
    RECORD_FILE,
    DayRecord,
    RecordedDays,
    Summaries,
    due,
    read_records,
    read_summary,
)
from agent.miner.traffic import TRAFFIC_FILE
from agent.settings import Settings

FIRST, LAST = date(2026, 11, 23), date(2026, 11, 29)
OUTCOMES = ("completed", "completed", "NO_MEMORY", "RUNNER_HUNG", "RUNNER_HUNG", "handed back")


def machine(tmp_path: Path, today: date = LAST, **notices: Any) -> Settings:
    """Return the settings of a machine with a history of two days until `today`."""
    directory = tmp_path / "miner"
    directory.mkdir()
    history = History(directory / FILE_NAME, 100)
    history.open()
    for day, outcomes in ((today, OUTCOMES), (today - timedelta(days=7), ("completed",))):
        ended_at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
        jobs = [
            JobRecord(f"job_{day}_{number}", 1, ended_at, "llm", None, "cpu", outcome, 1, 1.0, 0.1, "0.25")
            for number, outcome in enumerate(outcomes)
        ]
        history.add(Spent(str(day), "", joules=7_200_000, cost=0.5, jobs=jobs))
    history.close()
    data = {str(today - timedelta(days=number)): {"received": 2**30, "sent": 2**30} for number in (0, 7)}
    (directory / TRAFFIC_FILE).write_text(json.dumps(data))
    days = {
        str(today - timedelta(days=1)): DayRecord(connected=86_400, paused=21_600, versions=["0.3.0"]),
        str(today): DayRecord(connected=64_800, versions=["0.3.0", "0.3.1"]),
    }
    (directory / RECORD_FILE).write_text(RecordedDays(days=days, sent_until="2026-11-01").model_dump_json())
    return load_settings(flags={"data_dir": tmp_path, "miner": {"name": "rig-1", "notices": notices}})


def test_a_summary_says_what_was_earned_used_and_failed_and_when_the_machine_was_away(tmp_path: Path) -> None:
    assert read_summary(machine(tmp_path), FIRST, LAST).text() == (
        "2026-11-23 to 2026-11-29: earned 1.5 credits with 2 jobs; 3 failed (2 RUNNER_HUNG, 1 NO_MEMORY). Used 2 kWh for 0.5 credits and 2.0 GiB of data. "
        "It was away 12% of the time, and paused 12%. It was updated: 0.3.0 → 0.3.1."
    )


def test_without_any_history_a_summary_is_empty(tmp_path: Path) -> None:
    settings = load_settings(flags={"data_dir": tmp_path})
    text = read_summary(settings, LAST, LAST).text()
    assert text == "2026-11-29: earned 0 credits with 0 jobs; none failed. Used 0 kWh and 0.0 GiB of data."


@pytest.mark.parametrize(
    ("every", "now", "sent", "period"),
    [
        ("off", "2026-11-30 09:00", "2026-11-01", None),
        ("daily", "2026-11-30 07:59", "2026-11-28", None),
        ("daily", "2026-11-30 08:00", "2026-11-28", (date(2026, 11, 29), date(2026, 11, 29))),
        ("daily", "2026-11-30 23:00", "2026-11-29", None),
        ("weekly", "2026-11-30 08:00", "2026-11-22", (FIRST, LAST)),
        ("weekly", "2026-12-03 08:00", "2026-11-22", (FIRST, LAST)),
        ("weekly", "2026-12-03 08:00", "2026-11-29", None),
        ("daily", "2026-11-30 09:00", None, None),
    ],
)
def test_a_summary_is_due_once_at_its_hour_also_if_the_machine_was_off(
    every: str, now: str, sent: str | None, period: Any
) -> None:
    assert due(RecordedDays(sent_until=sent), datetime.fromisoformat(now), every, 8) == period


def test_a_summary_is_sent_by_the_command_again_if_it_fails_and_not_twice(tmp_path: Path) -> None:
    """The first time there is no directory to write into."""
    mails = tmp_path / "mails"
    command = ("sh", "-c", f"cat >>{mails}/box")
    settings = machine(tmp_path, summary="weekly", command=command)
    clock = lambda: datetime(2026, 11, 30, 10).timestamp()  # noqa: E731, DTZ001 - local time

    def round_of_a_day() -> None:
        summaries = Summaries(settings, connected=lambda: True, paused=lambda: False, clock=clock)
        summaries._records = read_records(tmp_path / "miner" / RECORD_FILE)
        asyncio.run(summaries.send_due())

    round_of_a_day()
    mails.mkdir()
    round_of_a_day()
    round_of_a_day()
    assert (mails / "box").read_text().splitlines() == [
        f"rig-1: {read_summary(settings, FIRST, LAST).text()}"
    ]


async def _recorded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.miner.notices.summary.POLL_SECONDS", 0.2)
    running = asyncio.create_task(Summaries(settings, connected=lambda: True, paused=lambda: True).run())
    async with asyncio.timeout(60):
        while not read_records(settings.data_dir / "miner" / RECORD_FILE).days:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_the_days_and_versions_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "miner").mkdir()
    settings = load_settings(flags={"data_dir": tmp_path})
    asyncio.run(_recorded(settings, monkeypatch))
    (day,) = read_records(tmp_path / "miner" / RECORD_FILE).days.values()
    assert 0 < day.paused <= day.connected
    assert day.versions == [__version__]


def test_the_command_prints_the_same(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    settings = machine(tmp_path, today)
    answer = CliRunner().invoke(app, ["summary", "--data-dir", str(tmp_path)])
    assert answer.stdout.strip() == read_summary(settings, today - timedelta(days=6), today).text()
