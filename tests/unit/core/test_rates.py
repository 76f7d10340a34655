"""Rates as settings, and what counts as one caller."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from pydantic import TypeAdapter, ValidationError

from agent.core.rates import Rate, caller_address, lies_in


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600 per minute", Rate(600, 60)),
        ("1000 per 10 seconds", Rate(1000, 10)),
        ("5 per s", Rate(5, 1)),
        ("5 per 1 s", Rate(5, 1)),
        ("1 per 2 hours", Rate(1, 7200)),
    ],
)
def test_a_rate_is_parsed_as_people_write_it(text: str, rate: Rate) -> None:
    adapter = TypeAdapter(Rate)
    assert adapter.validate_python(text) == rate
    assert adapter.validate_python(adapter.dump_python(rate, mode="json")) == rate


@pytest.mark.parametrize("text", ["600", "0 per minute", "600/minute", "-1 per s", "5 per day", 600, None])
def test_an_invalid_rate_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValidationError, match="600 per minute"):
        TypeAdapter(Rate).validate_python(text)


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
