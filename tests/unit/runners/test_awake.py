from __future__ import annotations

from runners.awake import FROZEN_SECONDS, JUMP_SECONDS, AwakeClock, ClockJumps


def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    """Neither does it count when the first reading after it is that of its user instead of the thread's."""
    times = iter([100.0, 101.0, 102.0, 702.0, 703.0, 703.0 + FROZEN_SECONDS])
    clock = AwakeClock(lambda: next(times))
    readings = [clock.read() for _ in range(5)]
    assert [reading - readings[0] for reading in readings] == [0, 1, 1, 2, 2 + FROZEN_SECONDS]


def test_a_suspension_and_a_changed_clock_are_jumps_once_and_a_correction_is_none() -> None:
    ahead = [0.0]
    jumps = ClockJumps(lambda: 5000.0 + ahead[0], lambda: 7.0)
    seen = []
    for seconds in (0, 600, 0, -3600, 0, JUMP_SECONDS / 2):
        ahead[0] += seconds
        seen.append(jumps.since_last())
    assert seen == [0, 600, 0, -3600, 0, 0]
