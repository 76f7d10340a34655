"""The generated configuration files and pages agree with the settings in the code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from agent.configuring.description import describe, sentences
from agent.configuring.reading import load_settings, settings_by_key
from agent.miner.settings import MinerSettings
from agent.sections import EXTENSIONS, section_of
from agent.settings import Settings

ROOT = Path(__file__).parents[2]
FILES = ("agent", "coordinator")
MINERS_ALONE = {"models_dir", "cache_dir", "miner", "runners", "engines"}
SWITCHED_OFF = re.compile(r"#(?=[a-z_]+ = )")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the settings of the machine that runs the tests."""
    for name in os.environ:
        if name.upper().startswith("AITBC_") or name in {"XDG_DATA_HOME", "XDG_CACHE_HOME"}:
            monkeypatch.delenv(name)


def shown(name: str) -> list[str]:
    """Return the keys in a configuration file, in its order."""
    keys: list[str] = []
    section = ""
    for line in (ROOT / "configs" / f"{name}.toml").read_text("utf-8").splitlines():
        if header := re.fullmatch(r"\[([a-z_.]+)\]", line):
            section = f"{header[1]}."
        elif key := re.match(r"(?:#|# Not set\. Written like: )([a-z_]+) = ", line):
            keys.append(f"{section}{key[1]}")
    return keys


def shipped() -> list[str]:
    """Return the keys of all settings but those of extensions."""
    return [key for key in settings_by_key() if key.rpartition(".")[0] not in EXTENSIONS]


def test_the_agents_file_has_every_setting_exactly_once() -> None:
    assert sorted(shown("agent")) == sorted(shipped())


def test_the_coordinators_file_has_the_settings_that_a_coordinator_reads() -> None:
    needed = [key for key in shipped() if key.partition(".")[0] not in MINERS_ALONE]
    assert sorted(shown("coordinator")) == sorted(needed)


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_changes_no_setting(name: str) -> None:
    assert load_settings(ROOT / "configs" / f"{name}.toml").model_dump() == load_settings().model_dump()


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_all_lines_uncommented_gives_the_defaults(name: str, tmp_path: Path) -> None:
    text = (ROOT / "configs" / f"{name}.toml").read_text("utf-8")
    config = tmp_path / "all.toml"
    config.write_text("\n".join(SWITCHED_OFF.sub("", line) for line in text.splitlines()), encoding="utf-8")
    assert load_settings(config).model_dump() == load_settings().model_dump()
    assert config.read_text("utf-8").count("\n") == text.count("\n") - 1


def test_all_example_values_can_be_loaded(tmp_path: Path) -> None:
    """Also those after "Written like"."""
    text = (ROOT / "configs" / "agent.toml").read_text("utf-8")
    lines = [line.partition("Written like: ")[2] or line for line in text.splitlines()]
    config = tmp_path / "examples.toml"
    config.write_text("\n".join(lines), encoding="utf-8")
    loaded = load_settings(config)
    assert section_of(loaded, MinerSettings).name == "rig-1"
    assert section_of(loaded, MinerSettings).prices


def test_numbers_have_a_unit() -> None:
    units = {setting.key: setting.form.unit for setting in describe(Settings)}
    assert units["coordinator.lease_seconds"] == units["coordinator.upload_silence_seconds"] == "seconds"
    assert (units["miner.vram_reserve"], units["miner.slots"]) == ("bytes", "")


def test_the_page_shows_the_variable_of_every_setting_which_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "settings.md").read_text("utf-8")
    meanings = dict(sentences(Settings))
    for setting in describe(Settings):
        assert text.count(f"| `{setting.key}`<br>`{setting.variable}` |") == 1
        assert meanings[setting.key]
        assert "None" not in meanings[setting.key], "write 'None: what happens then'"
