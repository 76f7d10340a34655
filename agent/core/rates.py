"""Rate limits as settings, and which address counts as one caller."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import core_schema

Network: TypeAlias = IPv4Network | IPv6Network

_RATE: Final = re.compile(r"([1-9][0-9]{0,8}) per (?:([1-9][0-9]{0,5}) )?(s|seconds?|minutes?|hours?)")
_SECONDS: Final = {"s": 1, "second": 1, "minute": 60, "hour": 3600}
_IPV6_SITE: Final = 64
"""Bits of an IPv6 address that identify a site. Its owner chooses the rest freely."""
_LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` requests in `seconds`. Settings write it "600 per minute" or "1000 per 10 seconds"."""

    amount: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.amount} per {self.seconds} seconds"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _validate(cls, value: Any) -> Rate:
        if isinstance(value, Rate):
            return value
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError('write a rate like "600 per minute" or "1000 per 10 seconds"')
        amount, count, unit = match.groups()
        return cls(int(amount), int(count or 1) * _SECONDS[unit if unit == "s" else unit.rstrip("s")])


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


@lru_cache(maxsize=4096)
def lies_in(host: str | None, networks: tuple[Network, ...]) -> bool:
    """Return whether `host` is an address in one of the networks."""
    try:
        ip = ip_address((host or "").partition("%")[0])
    except ValueError:
        return False
    ip = ip.ipv4_mapped or ip if ip.version == 6 else ip  # noqa: PLR2004 - the version of IP
    return any(ip in network for network in networks)
