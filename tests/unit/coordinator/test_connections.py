"""Who has to go when there are too many connections."""

from __future__ import annotations

import resource
import subprocess
import sys

from agent.coordinator.connections import Connection, Connections, most_connections
from agent.coordinator.metrics import METRICS
from agent.metrics import Meter
from agent.settings import ConnectionSettings

PLENTY = 100_000


class Door:
    """Connections by number, and those that were closed."""

    def __init__(self, **settings: int) -> None:
        limits = ConnectionSettings.model_validate(settings)
        self.connections = Connections(limits, Meter(METRICS), descriptors=PLENTY)
        self.closed: list[int] = []
        self._next = 0

    def enter(self, address: str = "192.0.2.1", *, proxied: bool = False) -> Connection | None:
        number, self._next = self._next, self._next + 1
        connection = Connection(
            self.connections, address, lambda: self.closed.append(number), proxied=proxied
        )
        return connection if self.connections.enter(connection, 0) else None

    def known(self, owner: str, address: str = "192.0.2.1", *, miner: bool = False) -> Connection:
        connection = self.enter(address)
        assert connection is not None
        self.connections.begin(connection)
        connection.identify(owner, miner=miner)
        return connection


def test_an_address_loses_the_stranger_that_was_silent_for_longest() -> None:
    door = Door(per_address=3)
    first = door.enter()
    door.enter()
    door.enter()
    door.enter("192.0.2.2")
    assert first is not None
    door.connections.begin(first)  # it sends a request, so the second has been silent for longer
    door.enter()
    assert door.closed == [1]


def test_a_site_of_many_miners_behind_one_address_is_one_address_and_no_crowd() -> None:
    door = Door(per_address=3)
    for number in range(50):
        door.known(f"miner_{number}", miner=True)
    assert not door.closed
    assert door.connections.counts() == {"without_key": 0, "with_key": 50}


def test_when_full_strangers_go_first_and_then_those_with_a_key_between_two_requests() -> None:
    door = Door(maximum=16)
    busy = [door.known(f"miner_{number}", miner=True) for number in range(8)]
    idle = [door.known(f"miner_{number}", miner=True) for number in range(8, 14)]
    for connection in idle:
        door.connections.end(connection)
    assert all(door.enter(f"192.0.2.{number}") for number in range(2))
    for number in range(8):
        door.known(f"newcomer_{number}", miner=True)
    assert door.closed == [14, 15, *range(8, 14)]
    assert door.enter() is None
    assert all(connection.owner for connection in busy)


def test_where_nobody_can_go_the_newcomer_is_refused() -> None:
    door = Door(maximum=16)
    for number in range(16):
        door.known(f"miner_{number}", miner=True)
    assert door.enter() is None
    assert not door.closed


def test_one_account_leaves_three_quarters_to_others_and_all_accounts_a_quarter_to_strangers() -> None:
    door = Door(maximum=16)
    greedy = [door.known("greedy") for _ in range(6)]
    assert [connection.owner for connection in greedy] == ["greedy"] * 4 + [None] * 2
    others = [door.known(f"account_{number}") for number in range(10)]
    assert sum(connection.owner is not None for connection in others) == 8
    assert door.known("miner", miner=True).owner == "miner"


def test_connections_that_ended_make_room_for_their_owner() -> None:
    door = Door(maximum=16)
    for _ in range(20):
        connection = door.known("account")
        assert connection.owner == "account"
        door.connections.end(connection)
        door.connections.leave(connection)
        door.connections.leave(connection)  # told twice, as when it was closed here
    assert door.connections.counts() == {"without_key": 0, "with_key": 0}
    assert door.enter() is not None


def test_a_trusted_proxy_is_no_address() -> None:
    door = Door(per_address=1)
    for _ in range(5):
        proxied = door.enter(proxied=True)
        assert proxied is not None
        proxied.identify("account")
        assert proxied.owner is None
    assert not door.closed


def test_files_are_left_for_everything_else() -> None:
    settings = ConnectionSettings()
    assert most_connections(settings, 1024) == 416
    assert most_connections(settings, 64) == 16
    assert most_connections(settings, PLENTY) == settings.maximum


def test_the_soft_limit_on_files_is_raised_to_the_hard_one() -> None:
    code = (
        "import resource; from agent.coordinator.connections import raise_descriptor_limit as r; "
        "print(r(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = ["prlimit", f"--nofile=256:{min(hard, 2048)}", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(min(hard, 2048))] * 3
