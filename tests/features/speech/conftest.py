"""OpenAI's official client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from support.server import Served


@pytest.fixture
def ai(served: Served) -> Iterator[OpenAI]:
    """OpenAI's official client with a client's key and without retries."""
    with OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0, timeout=120) as ai:
        yield ai
