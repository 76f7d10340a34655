"""Which addresses may be connected to on behalf of strangers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.values.addresses import AddressRefusal, is_host, may_connect, refusal_of

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "2606:4700:4700::1111",
    "2a01:4f8::1",
    "64:ff9b::8.8.8.8",
    "::ffff:8.8.8.8",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2001:0:1::1",
    "2002:7f00:1::1",
    "2001:db8::1",
    "3fff::1",
    "::127.0.0.1",
    "5f00::1",
    "100::1",
]
NEVER = [
    "0.0.0.0",  # noqa: S104 - nothing is bound
    "::",
    "224.0.0.1",
    "239.1.1.1",
    "255.255.255.255",
    "240.0.0.1",
    "ff02::1",
    "::ffff:224.0.0.1",
    "::ffff:0.0.0.0",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str):
    assert may_connect(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_allowed_only_if_the_owner_allows_them(address: str):
    assert not may_connect(address)
    assert may_connect(address, allow_private=True)


@pytest.mark.parametrize("address", [*NEVER, "", "localhost", "0x7f.1", "1.1.1.1:80"])
def test_multicast_and_invalid_addresses_are_never_allowed(address: str):
    assert not may_connect(address, allow_private=True)


@given(st.ip_addresses(v=4))
def test_an_ipv6_address_that_embeds_an_ipv4_address_is_judged_by_that(address: IPv4Address):
    mapped = IPv6Address(f"::ffff:{address}")
    translated = IPv6Address(f"64:ff9b::{address}")
    assert may_connect(str(address)) == may_connect(str(mapped)) == may_connect(str(translated))


@given(
    st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10"]),
    st.integers(0, 2**16 - 1),
)
def test_no_address_of_a_private_network_is_allowed(network: str, host: int):
    assert not may_connect(str(IPv4Network(network)[host]))


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        ("https://example.com/x", None),
        ("https://example.com:8443/x", None),
        ("https://8.8.8.8/x", None),
        ("http://example.com/x", AddressRefusal.SCHEME),
        ("file:///etc/passwd", AddressRefusal.SCHEME),
        ("https:///x", AddressRefusal.SCHEME),
        ("https://[::1", AddressRefusal.NOT_A_URL),
        ("https://example.com:99999/", AddressRefusal.NOT_A_URL),
        ("https://me@example.com/", AddressRefusal.LOGIN),
        ("https://example.com:25/", AddressRefusal.PORT),
        ("https://10.0.0.1/", AddressRefusal.PRIVATE),
        ("https://LOCALHOST/", AddressRefusal.PRIVATE),
        ("https://metadata.google.internal/", AddressRefusal.PRIVATE),
    ],
)
def test_a_url_is_checked_before_any_connection(url: str, refusal: AddressRefusal | None) -> None:
    assert refusal_of(url) is refusal


def test_http_and_private_addresses_can_be_allowed() -> None:
    assert refusal_of("http://127.0.0.1:8000/", allow_http=True, allow_private=True) is None
    assert refusal_of("http://127.0.0.1:8000/", allow_http=True) is AddressRefusal.PRIVATE


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("example.com", True),
        ("xn--bcher-kva.example.", True),
        ("192.0.2.1", True),
        ("::1", True),
        ("a%20b", False),
        ("a..b", False),
        (".a", False),
        ("a" * 64, False),
        (".".join(["a" * 60] * 5), False),
        ("", False),
    ],
)
def test_host_names_are_validated(name: str, good: bool) -> None:
    assert is_host(name) is good
