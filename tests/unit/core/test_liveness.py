"""Parts that make progress are distinguished from parts that merely run."""

from __future__ import annotations

from agent.core.liveness import Liveness


def test_a_part_is_overdue_only_after_its_own_deadline() -> None:
    """Each part chooses its deadline, and each report sets a new one."""
    liveness = Liveness()
    liveness.report("database", now=100, within=60)
    liveness.report("heartbeat", now=100, within=105)
    assert liveness.overdue(160) == {}
    assert liveness.overdue(170) == {"database": "no progress; it was due 10 s ago"}
    liveness.report("database", now=170, within=60)
    assert liveness.overdue(200) == {}


def test_a_part_that_ended_normally_is_never_overdue_and_one_that_failed_always_is() -> None:
    """A part that must never end does not recover by a report."""
    liveness = Liveness()
    liveness.report("outbox", now=0, within=1)
    liveness.leave("outbox")
    assert liveness.overdue(10) == {}
    liveness.fail("dispatcher", "it ended (KeyError)")
    liveness.leave("dispatcher")
    assert liveness.overdue(10) == {"dispatcher": "it ended (KeyError)"}
