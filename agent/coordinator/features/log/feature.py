"""The transparency log: what the coordinator publishes, in a Merkle tree that only grows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from agent.coordinator.feature import Feature, Opening, Task
from agent.coordinator.features.log import leaves, metrics, public, routes
from agent.coordinator.features.log.sequencer import PUBLISHED, LogInconsistent, Sequencer, check
from agent.coordinator.features.log.settings import TransparencyLogSettings
from agent.coordinator.hooks import Hooks
from agent.coordinator.http.bodies import BodyLimit, without_key
from agent.coordinator.operations.context import Connection, Context
from agent.core.errors import ConfigurationError
from agent.sections import section_of
from aitbc.errors import FormatError
from aitbc.keys import COSIGNATURE_TYPE, parse_vkey

HEALTH: Final = "blockchain"
"""What the reference calls the log."""


def _open(opening: Opening) -> Sequencer:
    settings = section_of(opening.settings.coordinator, TransparencyLogSettings)
    sequencer = Sequencer(
        opening.database,
        opening.signer,
        opening.clock,
        seconds=settings.log_checkpoint_seconds,
        published=opening.directory / PUBLISHED,
        witnesses=_witnesses(settings.witnesses),
    )
    # A coordinator whose log cannot continue must not accept jobs, whose receipts would be in no log.
    sequencer.check_at_start(opening.key_file)
    return sequencer


def _witnesses(vkeys: Sequence[str]) -> tuple[str, ...]:
    """Return the witnesses' public keys. Raises `ConfigurationError` for a malformed or repeated key."""
    names = set()
    for vkey in vkeys:
        try:
            _, public_key = parse_vkey(vkey, COSIGNATURE_TYPE)
        except FormatError as error:
            raise ConfigurationError(f"coordinator.witnesses: {error}") from None
        # Two names with one key would count as two witnesses.
        if public_key in names:
            raise ConfigurationError(f"coordinator.witnesses: the key of {vkey} is given twice.")
        names.add(public_key)
    return tuple(vkeys)


async def _begin(context: Context) -> None:
    await context.part(Sequencer).begin()


def _check_health(connection: Connection, context: Context) -> Mapping[str, bool]:
    """Return whether leaves get numbers, and the newest checkpoint is signed by this log and matches the tree in the database."""
    sequencer = context.part(Sequencer)
    try:
        check(connection, sequencer.signer)
    except LogInconsistent:
        return {HEALTH: False}
    return {HEALTH: sequencer.fault is None}


FEATURE: Final = Feature(
    name="log",
    routers=(routes.router,),
    body_limits=(BodyLimit(re.compile("/v1/log/cosignature"), without_key),),
    metrics=metrics.METRICS,
    read_metrics=metrics.read,
    tasks=(Task("old_checkpoints", public.THINNING_SECONDS, public.thin_checkpoints),),
    part=Sequencer,
    open=_open,
    begin=_begin,
    health=(HEALTH,),
    check_health=_check_health,
    hooks=Hooks(
        jobs_changed=leaves.jobs_changed,
        results_accepted=leaves.results_accepted,
    ),
)
