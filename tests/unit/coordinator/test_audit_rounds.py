"""The rounds of audits: an answer that cannot be stored, and an audit that fails, do not stop the others."""

from __future__ import annotations

import asyncio

import pytest

from agent.coordinator.operations.audits.deciding import one_by_one, parse_answer
from agent.core.errors import ServiceUnavailable

ANSWER = {"verdict": "fail", "distances": {"a": 1}, "limits": {}, "where": "word 3", "reason": "It differs."}


@pytest.mark.parametrize("field", ["where", "reason"])
def test_an_answer_that_postgresql_cannot_store_is_none(field: str) -> None:
    assert parse_answer(ANSWER) is not None
    assert parse_answer({**ANSWER, field: "a\0b"}) is None


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
