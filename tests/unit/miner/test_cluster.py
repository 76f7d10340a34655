"""What the nodes of a Ray cluster receive from the miner."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from agent.miner.cluster.node import node_settings
from agent.settings import Settings
from agent.settings.description import Setting, describe


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
    assert (received.runners, received.engines) == (settings.runners, settings.engines)
    assert (received.miner.slots, received.miner.prices) == (3, settings.miner.prices)
