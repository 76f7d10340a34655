"""What can go wrong between a miner and its coordinator, told apart by what the miner does about it.

AgentError
├── Unreachable             no answer: try again later
├── SessionSuperseded       another agent uses this key: stop
├── Excluded                the operator has excluded this miner: drop all work, ask again rarely
└── RegistrationRefused     the coordinator does not take this miner: stop, the owner must act
"""

from __future__ import annotations

from agent.core.errors import AgentError


class Unreachable(AgentError):
    """The coordinator gave no usable answer in time. What was asked may or may not have happened."""


class SessionSuperseded(AgentError):
    """A newer session of this miner has begun elsewhere, so this one must end."""

    exit_code = 77  # systemd/aitbc-agent.service: not started again, or two agents would take the key from each other for ever


class Excluded(AgentError):
    """The operator has excluded this miner. The message says why. It may be let in again at any time."""


class RegistrationRefused(AgentError):
    """The coordinator answered that it does not take this miner. The message says why."""
