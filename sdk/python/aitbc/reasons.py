"""The reasons why a job does not run, as clients and owners see them (docs/reference/waiting.md)."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

CanRun = Literal["now", "later", "never"]
"""When a job can run: at once, once its reasons for waiting end, or not as it is on any known miner."""


class Who(StrEnum):
    """Who can remove a reason. `TIME`: it ends on its own."""

    CLIENT = "client"
    OWNER = "owner"
    OPERATOR = "operator"
    TIME = "time"


class ReasonCode(StrEnum):
    """The codes of reasons. A `lasting` one holds until somebody changes the job, a miner or a price; others end on their own.

    `who` can change it. `meaning` is for people.
    """

    who: Who
    lasting: bool
    meaning: str

    def __new__(cls, value: str, who: Who, lasting: bool, meaning: str) -> Self:  # noqa: D102 - see the class
        member = str.__new__(cls, value)
        member._value_ = value
        member.who, member.lasting, member.meaning = who, lasting, meaning
        return member

    # The job itself.
    FILES_MISSING = "FILES_MISSING", Who.CLIENT, False, "Files of the job are still to be uploaded."
    ACCOUNT_LIMIT = (
        "ACCOUNT_LIMIT", Who.TIME, False,
        "The account runs as many jobs as it may at the same time, because many of its jobs failed through their own errors.",
    )  # fmt: skip
    NO_MINERS = "NO_MINERS", Who.OPERATOR, False, "No miner has joined this coordinator yet."
    MINER_UNKNOWN = "MINER_UNKNOWN", Who.CLIENT, True, "The job names a miner that does not exist."
    OFFER_ENDED = (
        "OFFER_ENDED",
        Who.CLIENT,
        False,
        "The offer that the job accepted was withdrawn or has expired.",
    )
    NO_AUDITOR = (
        "NO_AUDITOR", Who.CLIENT, True, "The job requests an audit, but no miner of another owner checks work of its service.",
    )  # fmt: skip
    OFFER_FULL = (
        "OFFER_FULL", Who.CLIENT, False,
        "The offer has reached its maximum number of jobs. Only in the error `OFFER_NOT_AVAILABLE`.",
    )  # fmt: skip

    # The job as a whole cannot run on a miner.
    NOT_CHOSEN = "NOT_CHOSEN", Who.CLIENT, True, "The job names another miner, or an offer of another miner."
    SERVICE_NOT_OFFERED = "SERVICE_NOT_OFFERED", Who.OWNER, True, "The miner does not offer the service."
    FEATURE_MISSING = (
        "FEATURE_MISSING", Who.CLIENT, True,
        "The miner's engine lacks what the job requests, such as EEVEE or an encoder.",
    )  # fmt: skip
    MODEL_MISSING = (
        "MODEL_MISSING",
        Who.OWNER,
        True,
        "The miner does not have the model and does not download it.",
    )
    MODEL_TOO_LARGE = "MODEL_TOO_LARGE", Who.CLIENT, True, "The model needs more memory than the miner has."
    NOT_ENOUGH_CPU = "NOT_ENOUGH_CPU", Who.CLIENT, True, "The job requests more CPU cores than the miner has."
    NOT_ENOUGH_MEMORY = (
        "NOT_ENOUGH_MEMORY",
        Who.CLIENT,
        True,
        "The job requests more memory than the miner has.",
    )
    NOT_ENOUGH_GPUS = "NOT_ENOUGH_GPUS", Who.CLIENT, True, "The job requests more GPUs than the miner has."
    PRICE_ABOVE_MAX_COST = (
        "PRICE_ABOVE_MAX_COST", Who.CLIENT, True, "One unit costs more at the miner than the job's `max_cost`.",
    )  # fmt: skip
    ESTIMATE_ABOVE_MAX_COST = (
        "ESTIMATE_ABOVE_MAX_COST", Who.CLIENT, True,
        "The units that the request determines cost more at the miner than the job's `max_cost`.",
    )  # fmt: skip
    MINER_EXCLUDED = "MINER_EXCLUDED", Who.OPERATOR, True, "The operator has excluded the miner."

    REPUTATION_TOO_LOW = (
        "REPUTATION_TOO_LOW", Who.CLIENT, True, "The miner's reputation is below the job's `min_reputation`.",
    )  # fmt: skip
    NOT_AN_AUDITOR = (
        "NOT_AN_AUDITOR", Who.OPERATOR, True,
        "The job is an audit job, and the miner cannot compare results, or belongs to the owner of the audited miner.",
    )  # fmt: skip

    # A miner does not take the job at present.
    MINER_OFFLINE = "MINER_OFFLINE", Who.OWNER, False, "The miner is not connected."
    MINER_PAUSED = "MINER_PAUSED", Who.OWNER, False, "The miner is paused."
    MINER_ASLEEP = "MINER_ASLEEP", Who.TIME, False, "The miner is paused by its schedule."
    MINER_SUSPENDED = (
        "MINER_SUSPENDED", Who.TIME, False, "The miner gets no jobs for a while, because it handed back many.",
    )  # fmt: skip
    SERVICE_PAUSED = (
        "SERVICE_PAUSED", Who.TIME, False, "The service pauses on the miner, because several of its jobs failed there.",
    )  # fmt: skip
    MODEL_UNAVAILABLE = (
        "MODEL_UNAVAILABLE", Who.TIME, False,
        "The miner cannot load the model at present, for example because other programs use its memory.",
    )  # fmt: skip
    FAILED_THERE = (
        "FAILED_THERE", Who.TIME, False, "The job failed on the miner; another miner, or a pause, comes first.",
    )  # fmt: skip
    MINER_BUSY = "MINER_BUSY", Who.TIME, False, "The miner has no free capacity."
    QUEUED = "QUEUED", Who.TIME, False, "Other jobs come first."
