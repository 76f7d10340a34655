"""An owner's changes of settings through the coordinator: written to the settings file, applied at once, or refused."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from agent.cli.commands.machine import config as config_command
from agent.configuring.editing import edited, replace_settings
from agent.configuring.errors import InvalidSettings
from agent.configuring.reading import SettingsReading, read_settings
from agent.miner.daemon import Daemon
from agent.miner.live_settings import FOREIGN
from agent.miner.settings import EnginesSettings, MinerSettings
from agent.sections import section_of
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import HOST, running, until
from miner_support.runner import BatchRunner, ScriptedRunner

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]

FILE = """\
# My machine
[miner]
name = "rig-1"  # the one in the cellar

[miner.prices]
scripted = "0.5"
"""


def reading_of(tmp_path: Path, content: str = FILE, **flags: Any) -> SettingsReading:
    file = tmp_path / "agent.toml"
    file.write_text(content)
    directories = {name: tmp_path / name for name in ("data_dir", "models_dir", "cache_dir")}
    return read_settings(file, {**directories, **flags})


def daemon_of(reading: SettingsReading, url: str) -> Daemon:
    return Daemon(
        reading.settings,
        url,
        runners={"scripted": ScriptedRunner, "batch": BatchRunner},
        host_command=HOST,
        reading=reading,
    )


def reported(coordinator: FakeCoordinator) -> dict[str, Any]:
    """Return the capabilities of the newest heartbeat that had any."""
    found: dict[str, Any] = next(
        beat["capabilities"] for beat in reversed(coordinator.heartbeats) if beat["capabilities"]
    )
    return found


async def change(coordinator: FakeCoordinator, command_id: str, **settings: Any) -> list[str]:
    """Send a change. Return the reasons if the miner refused it."""
    await coordinator.command(command_id=command_id, command="change_settings", settings=settings)
    await coordinator.until(lambda: command_id in coordinator.executed)
    beat = next(beat for beat in coordinator.heartbeats if command_id in beat["executed"])
    refused = {one["command_id"]: one["reasons"] for one in beat["refused"]}
    return list(refused.get(command_id, ()))


async def test_a_change_is_written_to_the_file_and_applies_without_a_restart(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Comments and other settings of the file stay, and so does its mode."""
    reading = reading_of(tmp_path)
    reading.file.chmod(0o640)
    daemon = daemon_of(reading, coordinator.url)
    async with running(daemon):
        await coordinator.until(lambda: coordinator.heartbeats)
        before = reported(coordinator)
        assert (before["services"]["scripted"]["unit_price"], before["settings"]["locked"]) == ("0.5", None)
        prices = {"scripted": "0.25", "batch": "0.125"}
        assert await change(coordinator, "command_1", prices=prices) == []
        await coordinator.until(lambda: reported(coordinator)["services"]["batch"]["unit_price"] == "0.125")
        assert reported(coordinator)["services"]["scripted"]["unit_price"] == "0.25"
        assert await change(coordinator, "command_2", schedule=["00:00-24:00"]) == []
        assert daemon.status()["paused"].startswith("by schedule")
        assert await change(coordinator, "command_3", schedule=[], prices={"scripted": None}) == []
        assert daemon.status()["paused"] is None
        default = before["settings"]["default_prices"]["scripted"]
        await coordinator.until(
            lambda: reported(coordinator)["services"]["scripted"]["unit_price"] == default
        )
    text = reading.file.read_text()
    assert text.startswith('# My machine\n[miner]\nname = "rig-1"  # the one in the cellar\n')
    again = read_settings(reading.file).settings.miner
    assert {service: str(price) for service, price in again.prices.items()} == {"batch": "0.125"}
    assert stat.S_IMODE(reading.file.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (None, 0, 0o600),
        (b"[miner]\nslots = 1\n", 0o644, 0o644),
        (b'[miner]\nenrolment_token = "enrol_x"\n', 0o644, 0o600),
        (b'payouts.http.secret = "whsec_x"\n', 0o644, 0o600),
        (b'[database]\nurl = "postgresql://a:b@c/d"\n', 0o640, 0o640),
    ],
)
def test_a_settings_file_with_secrets_is_not_readable_by_everybody(
    tmp_path: Path, content: bytes | None, mode: int, expected: int
) -> None:
    """A group that may read it continues to."""
    file = tmp_path / "agent.toml"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    replace_settings(file, edited(content or b"", {("miner", "name"): "rig-1"}))
    assert stat.S_IMODE(file.stat().st_mode) == expected


async def test_preferred_engines_apply_as_soon_as_the_running_jobs_have_ended(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """The daemon ends, to be replaced by one that probes the machine with the new settings."""
    daemon = daemon_of(reading_of(tmp_path, miner={"gpu_poll_seconds": 0.05}), coordinator.url)
    async with running(daemon) as task:
        job = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await until(lambda: daemon.status()["now"].get("working") == 1)
        assert await change(coordinator, "command_1", engines=["faster-whisper"]) == []
        assert not task.done()
        (tmp_path / "gate").touch()
        await coordinator.until(lambda: job in coordinator.results)
        await until(task.done)
    assert (daemon.machine_changed, section_of(daemon.settings, EnginesSettings).preferred) == (
        True,
        ("faster-whisper",),
    )


async def test_a_refusal_has_the_words_of_config_check(
    coordinator: FakeCoordinator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file stays as it is, also if the error is one that its owner made meanwhile."""
    reading = reading_of(tmp_path)
    async with running(daemon_of(reading, coordinator.url)):
        (reason,) = await change(coordinator, "command_1", schedule=["Mon 25:00-26:00"])
        assert "contains 25:00, which is not a time of day" in reason
        (reason,) = await change(coordinator, "command_2", prices={"scripted": "cheap"})
        assert reading.file.read_text() == FILE
        checked = tmp_path / "checked.toml"
        checked.write_bytes(edited(FILE.encode(), {("miner", "prices", "scripted"): "cheap"}))
        with pytest.raises(config_command.typer.Exit):
            config_command.check(checked)
        assert capsys.readouterr().out.splitlines()[0].split(": ", 1)[1].rstrip(".") in reason
        reading.file.write_text(FILE + "nane = 1\n[typo]\n")
        reasons = await change(coordinator, "command_3", prices={"scripted": "0.1"})
        assert any("typo" in reason for reason in reasons)
        reading.file.unlink()
        reading.file.mkdir()
        (reason,) = await change(coordinator, "command_4", prices={"scripted": "0.1"})
        assert "cannot be read" in reason or "cannot be written" in reason


@pytest.mark.parametrize(
    ("miner", "reason"),
    [
        ({"coordinator": "https://coordinator.example.org"}, FOREIGN),
        ({"remote_settings": False}, "forbidden"),
        ({"coordinator": "https://coordinator.example.org", "remote_settings": True}, None),
        ({}, None),
    ],
)
async def test_attack_a_foreign_coordinator_changes_no_settings(
    coordinator: FakeCoordinator, tmp_path: Path, miner: dict[str, Any], reason: str | None
) -> None:
    """By default, only the agent's own coordinator may; the owner may allow or forbid it."""
    reading = reading_of(tmp_path, miner=miner)
    async with running(daemon_of(reading, coordinator.url)):
        await coordinator.until(lambda: coordinator.heartbeats)
        locked = reported(coordinator)["settings"]["locked"]
        refused = await change(coordinator, "command_1", prices={"scripted": "0.00000001"})
    assert (locked is None) == (reason is None)
    assert (reading.file.read_text() == FILE) == (reason is not None)
    assert refused == ([] if reason is None else [locked])
    assert reason is None or reason in str(locked)


async def test_a_setting_of_the_environment_or_a_flag_is_not_changed_in_the_file(
    coordinator: FakeCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AITBC_MINER__PAUSE__SCHEDULE", '["Mon 09:00-10:00"]')
    reading = reading_of(tmp_path)
    async with running(daemon_of(reading, coordinator.url)):
        (reason,) = await change(coordinator, "command_1", schedule=[])
    assert "environment variable AITBC_MINER__PAUSE__SCHEDULE sets it" in reason
    assert reading.file.read_text() == FILE


def test_settings_are_read_again_as_if_the_file_had_other_content(tmp_path: Path) -> None:
    reading = reading_of(tmp_path)
    again = reading.with_file(b'[miner]\nname = "rig-2"\n')
    assert (section_of(again.settings, MinerSettings).name, again.settings.data_dir) == (
        "rig-2",
        tmp_path / "data_dir",
    )
    with pytest.raises(InvalidSettings, match="nane"):
        reading.with_file(b"[miner]\nnane = 1\n")


@pytest.mark.parametrize(
    "content", ["", FILE, 'miner = {prices = {scripted = "1"}}', 'miner.prices.scripted = "1"\n[log]\n']
)
def test_values_are_edited_in_any_form_of_toml(tmp_path: Path, content: str) -> None:
    schedule = ["Mon-Fri 09:00-18:00"]
    values = {
        ("miner", "prices", "batch"): "0.25",
        ("miner", "prices", "scripted"): None,
        ("miner", "pause", "schedule"): schedule,
    }
    miner = reading_of(tmp_path, edited(content.encode(), values).decode()).settings.miner
    assert ({**miner.prices}.keys(), list(miner.pause.schedule)) == ({"batch"}, schedule)


def test_values_below_a_value_are_refused() -> None:
    with pytest.raises(ValueError, match="miner is not a section"):
        edited(b"miner = 3\n", {("miner", "prices", "batch"): "1"})
