"""The OpenAPI document is served, and answers agree with it."""

from __future__ import annotations

import httpx
import pytest

from agent.coordinator.features.reference.routes.document import document
from agent.coordinator.installed import ROUTERS
from agent.coordinator.operations.answers import JobCancelled
from aitbc.answers.fields import MalformedAnswerError
from support.server import Served

pytestmark = pytest.mark.system


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_the_document_is_served(served: Served, prefix: str) -> None:
    """Without a key, with both prefixes."""
    answer = httpx.get(f"{served.url}{prefix}/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == document(ROUTERS)
    assert answer.json()["openapi"].startswith("3.1")


def test_an_answer_that_differs_from_its_declaration_is_a_server_error() -> None:
    """It must not look like an invalid request."""
    with pytest.raises(MalformedAnswerError):
        JobCancelled(job_id="job_1", status="running", cancelled_at="now")  # type: ignore[arg-type] # the point
