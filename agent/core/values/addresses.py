"""Which network addresses may be connected to on behalf of strangers: to fetch an input, to deliver a webhook.

Without these rules a stranger could make a machine fetch pages from its owner's network, from the machine itself, or from a
cloud's metadata service, and read them as a job's result.
Sources: the IANA special-purpose address registries (RFC 6890), RFC 6052 (NAT64), RFC 6598 (carrier-grade NAT).
"""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

# Listed here because the meaning of `is_global` differs between versions of Python.
_NAT64: Final = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NOT_FOR_PUBLIC_USE: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # "this network"; Linux connects 0.0.0.0 to the machine itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and internal addresses of some clouds and VPNs
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, with the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks between networks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
    )
)
_NEVER: Final = tuple(IPv4Network(network) for network in ("224.0.0.0/4", "240.0.0.0/4"))
_NOT_FOR_PUBLIC_USE_6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, with Teredo, which carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "3fff::/20",  # documentation
    )
)

_FREE_PORTS: Final = range(1024, 65536)
_WEB_PORTS: Final = (80, 443)
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_LONGEST_NAME: Final = 253
_PRIVATE_NAMES: Final = (".localhost", ".local", ".internal")


def may_connect(address: str, *, allow_private: bool = False) -> bool:
    """Return whether a connection to a stranger's server at this IP address is allowed.

    Public unicast addresses are; with `allow_private`, so are private, loopback and link-local ones. Multicast, broadcast and
    unspecified addresses, and strings that are not IP addresses, never are.
    """
    try:
        # Without the zone of a link-local address, which names an interface of one machine.
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # An IPv6 address may be a way to a private IPv4 one, which its own network does not show.
    target = _embedded(ip) or ip
    if target.is_multicast or target.is_unspecified:
        return False
    # Not even with `allow_private`: no server has such an address.
    if isinstance(target, IPv4Address) and any(target in network for network in _NEVER):
        return False
    return allow_private or _is_public(target)


def _embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a connection to this IPv6 address would reach, or None."""
    if isinstance(ip, IPv4Address):
        return None
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else None


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_FOR_PUBLIC_USE)
    return ip in _GLOBAL_UNICAST and not any(ip in network for network in _NOT_FOR_PUBLIC_USE_6)


class AddressRefusal(StrEnum):
    """Why a URL is refused before any connection is made."""

    NOT_A_URL = "not a URL"
    SCHEME = "scheme"
    LOGIN = "login"
    PORT = "port"
    PRIVATE = "private"


def refusal_of(url: str, *, allow_http: bool = False, allow_private: bool = False) -> AddressRefusal | None:
    """Return why a URL from a stranger is refused, as far as the URL itself shows, or None. Does not resolve its host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return AddressRefusal.NOT_A_URL
    if parts.scheme not in (("https", "http") if allow_http else ("https",)) or not host:
        return AddressRefusal.SCHEME
    if parts.username or parts.password:
        return AddressRefusal.LOGIN
    if not is_web_port(port):
        return AddressRefusal.PORT
    private = host == "localhost" or host.endswith(_PRIVATE_NAMES)
    # Forms such as "127.1" or "2130706433" are addresses for many libraries, though not for `ip_address`.
    numeric = ":" in host or host.replace(".", "").isdigit()
    if (private or (numeric and not may_connect(host))) and not allow_private:
        return AddressRefusal.PRIVATE
    return None


def is_host(name: str) -> bool:
    """Return whether `name` is an IP address or a DNS name (international names in their ASCII form)."""
    return is_address(name) or (len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None)


def is_address(host: str) -> bool:
    """Return whether a host is an IP address."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_web_port(port: int | None) -> bool:
    """Return whether web servers use this port. Other low ports belong to services that could mistake a request for a command."""
    return port is None or port in _WEB_PORTS or port in _FREE_PORTS
