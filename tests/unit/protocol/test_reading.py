"""Messages of a newer program are readable, and malformed ones are refused without quoting them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.protocol.answers import HeldLease, LeaseAnswer, Registered
from agent.protocol.reading import MalformedMessage, read, read_each
from aitbc.answers.fields import MalformedAnswerError

REGISTERED: dict[str, Any] = {
    "miner_id": "miner_1", "session": 4, "session_token": "a secret", "log_key": "log.test+1+A", "origin": "log.test",
    "api_key": None, "settings": {"lease_seconds": 60, "heartbeat_seconds": 15, "poll_seconds": 30}, "keep": [],
}  # fmt: skip


def test_unknown_fields_are_ignored_at_every_level() -> None:
    """The side that makes the message may not add any: there the same declaration is strict."""
    newer = {**REGISTERED, "new": 1, "settings": {**REGISTERED["settings"], "new": 2}}
    assert read(Registered, newer) == read(Registered, REGISTERED)
    with pytest.raises(MalformedAnswerError):
        Registered(**newer)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"session": "four"}, "session"), ({"settings": {}}, "heartbeat_seconds"), ({"keep": [{"job_id": "j"}]}, "fence")],
)  # fmt: skip
def test_a_malformed_message_names_its_fields_and_no_values(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedMessage, match=field) as refused:
        read(Registered, REGISTERED | changes)
    assert "four" not in str(refused.value)


@pytest.mark.parametrize("values", [None, [], "text", 5])
def test_a_message_must_be_an_object(values: Any) -> None:
    with pytest.raises(MalformedMessage, match="HeldLease"):
        read(HeldLease, values)


def test_items_that_only_a_newer_program_understands_are_omitted() -> None:
    known = {"job_id": "job_1", "fence": 1, "status": "lost", "new": 1}
    answers = read_each(LeaseAnswer, [known, {**known, "status": "suspended"}, "text"])
    assert [(answer.job_id, answer.status) for answer in answers] == [("job_1", "lost")]
    assert read_each(LeaseAnswer, None) == []
