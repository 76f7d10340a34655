"""Errors between a miner and its coordinator, by the miner's reaction.

AgentError
├── Unreachable             no answer: try again later
├── SessionSuperseded       another agent uses this key: stop
├── Excluded                the operator has excluded this miner: drop all work, register again rarely
├── Incompatible            the versions do not work together: keep finished work, register again rarely
└── RegistrationRefused     the coordinator refuses this miner: stop, the owner must act
"""

from __future__ import annotations

from agent.core.errors import AgentError


class Unreachable(AgentError):
    """The coordinator gave no usable answer in time. The call may or may not have taken effect."""


class SessionSuperseded(AgentError):
    """A newer session of this miner has begun elsewhere, so this one must end."""

    # The unit aitbc-agent.service does not restart it, or two agents would supersede each other forever.
    exit_code = 77


class Excluded(AgentError):
    """The operator has excluded this miner, for the reason in the message, and may admit it again at any time."""


class Incompatible(AgentError):
    """The versions of this miner and its coordinator do not work together. The message names them, and what to update."""


class RegistrationRefused(AgentError):
    """The coordinator refuses this miner, for the reason in the message."""
