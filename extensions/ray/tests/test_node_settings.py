"""What the nodes of a Ray cluster receive from the miner."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agent.configuring.description import Setting, describe
from agent.miner.settings import EnginesSettings, MinerSettings, RunnersSettings
from agent.sections import section_of
from agent.settings import Settings
from aitbc_ray.node import node_settings
from aitbc_ray.settings import RaySettings

KUBERNETES = Path(__file__).parents[3] / "configs/kubernetes"


def with_value(settings: BaseModel, key: str, value: object) -> Any:
    """The settings with a value that nothing validates."""
    name, _, inner = key.partition(".")
    changed = with_value(getattr(settings, name), inner, value) if inner else value
    return settings.model_copy(update={name: changed})


def secrets() -> Iterator[tuple[str, object]]:
    """Every setting that is secret, and a value for it; secrets of a table's entries as an entry."""
    for setting in describe(Settings):
        if setting.secret:
            yield setting.key, f"SECRET of {setting.key}"
        elif names := _secrets_of_entries(setting):
            yield setting.key, {"entry": dict.fromkeys(names, f"SECRET of {setting.key}")}


def _secrets_of_entries(setting: Setting) -> list[str]:
    table = setting.form.table
    return [] if table is None else [inner.key for inner in describe(table) if inner.secret]


def test_no_secret_reaches_the_nodes_of_a_cluster() -> None:
    """Programs that can read the objects of the cluster could otherwise create money."""
    settings = Settings()
    for key, value in secrets():
        settings = with_value(settings, key, value)
    assert pickle.dumps(settings).count(b"SECRET") >= 5
    assert b"SECRET" not in pickle.dumps(node_settings(settings))


def test_nodes_receive_the_settings_of_runners_engines_and_prices() -> None:
    settings = Settings(
        miner={"slots": 3, "prices": {"video_transcoding": "0.5"}, "name": "rig-1"},
        runners={"model_download": False},
        engines={"preferred": ["llama.cpp"]},
    )
    received = node_settings(settings)
    for section in (RunnersSettings, EnginesSettings):
        assert section_of(received, section) == section_of(settings, section)
    miner = section_of(received, MinerSettings)
    assert (miner.slots, miner.prices) == (3, section_of(settings, MinerSettings).prices)


def test_every_setting_of_the_kubernetes_files_exists() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in KUBERNETES.rglob("*.yaml"))
    named = set(re.findall(r"\bAITBC_MINER__RAY__[A-Z_]+", text))
    assert named
    assert named <= {setting.variable for setting in describe(Settings)}


def test_the_table_of_the_settings_is_the_extensions() -> None:
    assert section_of(section_of(Settings(miner={"ray": {"cpus": 3}}), MinerSettings), RaySettings).cpus == 3
