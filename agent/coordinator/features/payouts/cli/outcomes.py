"""`aitbc-agent payouts confirm` and `payouts invoice`: how the payments of a batch ended, and what a payment waits for."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.coordinator.features.payouts.cli.addresses import identity_of
from agent.coordinator.features.payouts.signed_hand_in import PayoutHandIn
from agent.core.errors import ConfigurationError
from agent.core.values.quantities import format_time
from agent.settings import Settings
from aitbc.cli._arguments.lookup import NamedCandidate, find
from aitbc.keys import parse_vkey

SENT: Final = "sent"
COLUMNS: Final = ("payout_id", "outcome", "reason", "reference")


def confirm(
    batch: Annotated[
        str, typer.Argument(help="The batch: its id or a part of it, its note, or `last` for the newest one.")
    ],
    payout: Annotated[
        list[str] | None,
        typer.Option(
            help="Report only this payment; may be repeated. Default: all payments of the batch that were sent."
        ),
    ] = None,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Report that the payments failed: they were not and will not be paid."),
    ] = False,
    reason: Annotated[str, typer.Option(help="Why they failed; their miners see it.")] = "",
    reference: Annotated[
        str, typer.Option(help="The bank's or service's reference for them; their miners see it.")
    ] = "",
    file: Annotated[
        Path | None,
        typer.Option(help=f"CSV file with the columns {', '.join(COLUMNS)}, instead of the other options."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Report also for an adapter that normally reports outcomes itself, but cannot now.",
        ),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Report the outcome of payments that were made by hand. The amounts of failed ones return to the miners' earnings."""
    settings = settings_from(data_dir)
    batch_id = find_batch(settings, batch)
    if file is not None:
        outcomes = _read(file)
    else:
        outcome = "failed" if failed else "confirmed"
        chosen = payout or _sent(settings, batch_id)
        outcomes = [
            {"payout_id": payout_id, "outcome": outcome, "reason": reason, "reference": reference}
            for payout_id in chosen
        ]
    with local_api.administrator(settings) as client:
        details = client.payouts.report(batch_id, outcomes, force=force)
    if as_json:
        print_json(details)
        return
    counts = ", ".join(f"{count} {status}" for status, count in sorted(details.counts.items()))
    typer.echo(f"{batch_id} is {details.status}: {counts}.")


def _sent(settings: Settings, batch_id: str) -> list[str]:
    """Return the payments of a batch that were sent and have not ended. Raises `ConfigurationError` if there are none."""
    with local_api.administrator(settings) as client:
        batch = client.payouts.batch(batch_id)
    open_payouts = [payout.payout_id for payout in batch.payouts if payout.status == SENT]
    if not open_payouts:
        raise ConfigurationError(
            f"{batch_id} is {batch.status} and has no payment whose outcome is open. See: aitbc-agent payouts show {batch_id}"
        )
    return open_payouts


def _read(path: Path) -> list[dict[str, str]]:
    """Return the outcomes in a CSV file. Raises `ConfigurationError`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}).") from None
    if not rows or not {"payout_id", "outcome"} <= rows[0].keys():
        raise ConfigurationError(f"{path} needs a first line with the columns {', '.join(COLUMNS)}.")
    return [{name: (row.get(name) or "").strip() for name in COLUMNS} for row in rows]


def invoice(
    payout: Annotated[str, typer.Argument(help="The payment's id (`aitbc-agent payouts history`).")],
    text: Annotated[str, typer.Argument(metavar="INVOICE", help="The Lightning invoice (lnbc...).")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Hand in the invoice that a payment waits for, signed with the identity key of this machine's miner."""
    settings = settings_from(data_dir)
    identity = identity_of(settings.data_dir)
    statement = PayoutHandIn(
        payout_id=payout,
        miner_id=identity.miner_id,
        text=text.strip(),
        created_at=format_time(time.time()),
        origin=parse_vkey(agent_file.read(settings).log_key)[0],
    )
    envelope = statement.sign(identity.signing_key)
    with local_api.owner(settings) as client:
        payment = client.payouts.hand_in(payout, envelope)
    if as_json:
        print_json(payment)
    else:
        typer.echo(
            f"The invoice of {payout} is accepted; {payment.sent_amount} {payment.currency} will be paid."
        )


def find_batch(settings: Settings, named: str) -> str:
    """Return the id of a batch of payouts; its name is its note. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[NamedCandidate]:
        with local_api.administrator(settings) as client:
            batches = client.payouts.batches(limit=local_api.PAGE).batches
        # Only drafts have no id, and they are not stored.
        return [NamedCandidate(str(batch.batch_id), batch.note, batch.status) for batch in batches]

    return find("batch", named, candidates, "aitbc-agent payouts list")
