"""A standalone agent that all tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aitbc import AITBCClient
from support.agents import Agent, running
from support.inputs.media import make_speech, make_video
from support.inputs.rerankers import ENTRY


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Run a real agent: coordinator, miner and runners."""
    # The browser tests of the JavaScript SDK use this host name.
    names = '["coordinator.test"]'
    directory = tmp_path_factory.mktemp("agent") / "data"
    agent = Agent(directory, "start", "--port", "0", AITBC_COORDINATOR__HOSTS=names)
    directory.mkdir(mode=0o700)
    (directory / "models.toml").write_text(ENTRY)
    with running(agent):
        yield agent


@pytest.fixture(scope="session")
def client(agent: Agent) -> AITBCClient:
    """A client of the agent."""
    return agent.client()


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving test pattern of two seconds with a tone."""
    return make_video(tmp_path_factory.mktemp("media") / "in.mp4")


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of the sentence."""
    return make_speech(tmp_path_factory.mktemp("media") / "speech.wav")
