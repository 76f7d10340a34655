"""Settings of the limits on calls."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Final

from pydantic import Field

from agent.coordinator.features.rate_limits.rates import Rate
from agent.core.values.networks import NetworkSetting
from agent.sections import Section


class RateLimitSettings(Section):
    """Rate limits. Each is a number of requests per period; a request over the limit gets 429 with Retry-After."""

    enabled: bool = True
    """Whether requests are counted at all."""
    client: Rate = Rate("1000 per 10 seconds")
    """Requests with one API key: 100 per second sustained, with bursts of 1000."""
    uploads: Rate = Rate("600 per 60 seconds")
    """Uploads that one API key starts. The parts of a resumable upload count as ordinary requests."""
    miner: Rate = Rate("2000 per 10 seconds")
    """Polls, files and connections of one miner's session, far above what a busy miner needs. Heartbeats, results and events are
    never refused, over HTTP or the WebSocket, so that no limit costs a miner its work."""
    address: Rate = Rate("600 per 60 seconds")
    """Requests without a valid key from one IPv4 address or IPv6 /64, such as those for the registry, the log and pages."""
    failures: Rate = Rate("20 per 60 seconds")
    """Wrong API keys from one address. Beyond this limit, the coordinator accepts from that address only keys that were valid
    recently."""
    logins: Rate = Rate("60 per 60 seconds")
    """Sign-ins with login links or keys from one address. Counted apart from `failures`, so that invented tokens lock out no key."""
    joining: Rate = Rate("300 per 60 seconds")
    """Challenges and registrations from one address: enough for a site of a hundred miners that all start at once, with some
    retries."""
    checking: Rate = Rate("120 per 60 seconds")
    """Receipts, cosignatures and requests that one address may have checked without a key; each check verifies signatures or
    schemas."""
    connections: Rate = Rate("120 per 60 seconds")
    """WebSockets that one address opens without a valid key in the handshake."""
    unlimited: tuple[NetworkSetting, ...] = (ip_network("127.0.0.0/8"), ip_network("::1"))
    """Networks whose requests with a valid key, and whose miners, are not counted. The default is this machine: its programs have
    the owner's keys and share the owner's processors. Requests forwarded by a proxy are counted in any case."""
    max_tracked: Annotated[int, Field(ge=100)] = 100_000
    """Callers that are tracked at the same time, at about 300 bytes each. When there are more, the oldest are dropped."""


SETTINGS: Final = {"coordinator.rate_limits": RateLimitSettings}
