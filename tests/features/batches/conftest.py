"""OpenAI's official client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from support.clients.openai_jobs import openai_of
from support.server import Served


@pytest.fixture
def ai(served: Served) -> Iterator[OpenAI]:
    """OpenAI's official client with a client's key and without retries."""
    with openai_of(served) as ai:
        yield ai
