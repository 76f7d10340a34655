"""Which connections are closed when there are too many."""

from __future__ import annotations

import resource
import subprocess
import sys

from agent.coordinator.connections import Connection, Connections, most_connections
from agent.coordinator.metrics import METRICS
from agent.metrics import Meter
from agent.settings.coordinator import ConnectionSettings

PLENTY = 100_000


class Server:
    """Numbered connections, and those that were closed."""

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


def test_an_address_loses_its_longest_silent_anonymous_connection() -> None:
    server = Server(per_address=3)
    first = server.enter()
    server.enter()
    server.enter()
    server.enter("192.0.2.2")
    assert first is not None
    server.connections.begin(first)  # it sends a request, so the second has been silent for longer
    server.enter()
    assert server.closed == [1]


def test_many_miners_behind_one_address_are_not_limited_like_anonymous_connections() -> None:
    server = Server(per_address=3)
    for number in range(50):
        server.known(f"miner_{number}", miner=True)
    assert not server.closed
    assert server.connections.counts() == {"without_key": 0, "with_key": 50}


def test_when_full_anonymous_connections_are_closed_first_and_then_idle_ones_with_a_key() -> None:
    server = Server(maximum=16)
    busy = [server.known(f"miner_{number}", miner=True) for number in range(8)]
    idle = [server.known(f"miner_{number}", miner=True) for number in range(8, 14)]
    for connection in idle:
        server.connections.end(connection)
    assert all(server.enter(f"192.0.2.{number}") for number in range(2))
    for number in range(8):
        server.known(f"newcomer_{number}", miner=True)
    assert server.closed == [14, 15, *range(8, 14)]
    assert server.enter() is None
    assert all(connection.owner for connection in busy)


def test_a_new_connection_is_refused_if_no_other_can_be_closed() -> None:
    server = Server(maximum=16)
    for number in range(16):
        server.known(f"miner_{number}", miner=True)
    assert server.enter() is None
    assert not server.closed


def test_one_account_gets_a_quarter_of_the_connections_and_all_accounts_three_quarters() -> None:
    server = Server(maximum=16)
    greedy = [server.known("greedy") for _ in range(6)]
    assert [connection.owner for connection in greedy] == ["greedy"] * 4 + [None] * 2
    others = [server.known(f"account_{number}") for number in range(10)]
    assert sum(connection.owner is not None for connection in others) == 8
    assert server.known("miner", miner=True).owner == "miner"


def test_ended_connections_no_longer_count_for_their_owner() -> None:
    server = Server(maximum=16)
    for _ in range(20):
        connection = server.known("account")
        assert connection.owner == "account"
        server.connections.end(connection)
        server.connections.leave(connection)
        server.connections.leave(connection)  # reported twice, as when the server closed it
    assert server.connections.counts() == {"without_key": 0, "with_key": 0}
    assert server.enter() is not None


def test_a_trusted_proxy_does_not_count_as_an_address() -> None:
    server = Server(per_address=1)
    for _ in range(5):
        proxied = server.enter(proxied=True)
        assert proxied is not None
        proxied.identify("account")
        assert proxied.owner is None
    assert not server.closed


def test_file_descriptors_are_reserved_for_other_uses() -> None:
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
