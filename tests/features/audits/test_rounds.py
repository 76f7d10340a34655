"""The rounds of audits: an answer that cannot be stored, and an audit that fails, do not stop the others."""

from __future__ import annotations

import asyncio

import pytest

from agent.coordinator.features.audits.rounds.deciding import one_by_one, parse_answer
from agent.coordinator.features.audits.rules import UnprovenCause
from agent.core.errors import ServiceUnavailable

ANSWER = {"verdict": "fail", "distances": {"a": 1}, "limits": {}, "where": "word 3", "reason": "It differs."}


@pytest.mark.parametrize("words", ["a\0b", "\x1b]0;PWNED\a", "\x9b2J", "two\nlines"])
def test_attack_an_answer_with_control_characters_is_none(words: str) -> None:
    """They would reach the terminals of owners, and PostgreSQL cannot store NUL."""
    assert parse_answer(ANSWER) is not None
    for changed in ({"where": words}, {"reason": words}, {"distances": {words: 1}}, {"limits": {words: 1}}):
        assert parse_answer({**ANSWER, **changed}) is None


def test_an_answer_names_the_miner_as_the_cause_or_nobody() -> None:
    for cause in ("miner", "registration", "", None, 7, []):
        answer = parse_answer({**ANSWER, "cause": cause})
        assert answer is not None
        assert (answer.cause is UnprovenCause.MINER) == (cause == "miner")


def test_an_audit_whose_step_fails_does_not_stop_the_others() -> None:
    seen: list[str] = []

    async def step(root: str) -> None:
        seen.append(root)
        if root == "audit_2":
            raise RuntimeError(root)
        if root == "audit_4":
            raise ServiceUnavailable(root)

    asyncio.run(one_by_one(["audit_1", "audit_2", "audit_3"], step))
    assert seen == ["audit_1", "audit_2", "audit_3"]
    with pytest.raises(ServiceUnavailable):
        asyncio.run(one_by_one(["audit_4", "audit_5"], step))
    assert seen[-1] == "audit_4"
