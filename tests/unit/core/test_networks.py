"""Which addresses count as one caller, and which lie in a network."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from agent.core.values.networks import caller_address, lies_in


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        (None, "unknown"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_a_site_with_ipv6_is_one_caller(host: str | None, caller: str) -> None:
    assert caller_address(host) == caller


def test_addresses_are_found_in_networks() -> None:
    networks = (ip_network("127.0.0.0/8"), ip_network("::1"))
    assert lies_in("127.9.9.9", networks)
    assert lies_in("::ffff:127.0.0.1", networks)
    assert lies_in("::1", networks)
    assert not lies_in("192.0.2.1", networks)
    assert not lies_in("nonsense", networks)
    assert not lies_in(None, networks)
