"""Networks as settings, and which address counts as one caller."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator

Network: TypeAlias = IPv4Network | IPv6Network

_IPV6_SITE: Final = 64
"""Bits of an IPv6 address that identify a site. Its owner chooses the rest freely."""
_LONGEST_NAME: Final = 64


def _network(value: Any) -> Network:
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError(
            f'{value!r} is neither an IP address nor a network; write it like "192.0.2.7" or "10.0.0.0/8"'
        ) from None


NetworkSetting: TypeAlias = Annotated[Network, BeforeValidator(_network)]
"""A settings value: an IP address, or a network without host bits."""


@lru_cache(maxsize=4096)
def caller_address(host: str | None) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 network of an IPv6 address, all of which belongs to one site."""
    if host is None:
        return "unknown"
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        return host[:_LONGEST_NAME]
    if ip.version == 4:  # noqa: PLR2004 - the version of IP
        return str(ip)
    # A socket for both protocols reports IPv4 callers so, and they must not count as a second caller.
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip_network((int(ip) >> _IPV6_SITE << _IPV6_SITE, _IPV6_SITE)))


def lies_in(host: str | None, networks: tuple[Network, ...]) -> bool:
    """Return whether `host` is an address in one of the networks."""
    try:
        ip = ip_address((host or "").partition("%")[0])
    except ValueError:
        return False
    ip = ip.ipv4_mapped or ip if ip.version == 6 else ip  # noqa: PLR2004 - the version of IP
    return any(ip in network for network in networks)
