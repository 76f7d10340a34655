"""`aitbc-agent payouts`: batches for operators; addresses, payments and proofs for miners' owners."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.coordinator.features.payouts.cli import addresses, outcomes
from agent.coordinator.features.payouts.cli.outcomes import find_batch
from agent.core.errors import ConfigurationError
from agent.core.values.spreadsheets import harmless
from agent.settings import Settings
from aitbc.answers.payouts import Omitted, OmittedMiner, Payout, PayoutBatchDetails
from aitbc.canonical import parse_json
from aitbc.cli._arguments.trust import trusted
from aitbc.cli._terminal.output import amount_cell, credits_text, moment, print_rows, print_text
from aitbc.errors import FormatError
from aitbc.leaves.payouts import PayoutVerification, verify_payout
from aitbc.policy import Policy

NOT_VALID = 3
_CSV = (
    "payout_id",
    "miner_id",
    "miner_name",
    "address",
    "amount",
    "sent_amount",
    "currency",
    "status",
    "reference",
    "reason",
)

app = typer.Typer(
    help="""Pay out what miners have earned.

Examples:
  aitbc-agent payouts preview
  aitbc-agent payouts create
  aitbc-agent payouts approve last
""",
    no_args_is_help=True,
)
app.add_typer(addresses.app, name="address")
app.command("confirm")(outcomes.confirm)
app.command("invoice")(outcomes.invoice)

AdapterOption = Annotated[
    str, typer.Option(help="The adapter that sends the payments: one of the setting payouts.adapters.")
]
RateOption = Annotated[
    str | None,
    typer.Option(
        help="What one credit is worth in the currency, such as 0.9137. It is part of the manifest. Default: payouts.rates."
    ),
]
CurrencyOption = Annotated[str | None, typer.Option(help="Currency. Default: the adapter's first one.")]
CutOffOption = Annotated[
    str | None,
    typer.Option(help='Count earnings up to this time, such as "2026-11-01T00:00:00Z". Default: now.'),
]
MinimumOption = Annotated[
    str | None, typer.Option(metavar="CREDITS", help="Minimum payment. Default: payouts.minimum.")
]
MaxOption = Annotated[
    int | None,
    typer.Option("--max", help="Maximum number of payments. Default: payouts.max_payments.", min=1),
]
BatchArgument = Annotated[
    str, typer.Argument(help="The batch: its id or a part of it, its note, or `last` for the newest one.")
]


_OMITTED: Final = {
    Omitted.NO_ADDRESS: "no address for this adapter and currency",
    Omitted.EXCLUDED: "excluded from the network",
    Omitted.NEW: "new here; it is paid when payouts.new_miner_hours have passed since it joined",
    Omitted.ON_HOLD: "earned too recently; payouts.hold_hours must pass",
    Omitted.BELOW_MINIMUM: "below the minimum (payouts.minimum)",
    Omitted.BATCH_FULL: "the batch is full; the next one pays it",
}


def _plan(
    currency: str | None, cut_off: str | None, minimum: str | None, max_payments: int | None
) -> dict[str, Any]:
    """Return the options that decide who is paid how much."""
    options = {
        "currency": currency,
        "cut_off": cut_off,
        "minimum": minimum,
        "max_payments": max_payments,
    }
    return {name: value for name, value in options.items() if value is not None}


@app.command("preview")
def preview(
    rate: RateOption = None,
    adapter: AdapterOption = "file",
    currency: CurrencyOption = None,
    cut_off: CutOffOption = None,
    minimum: MinimumOption = None,
    max_payments: MaxOption = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show who would be paid how much now, who would not, and why. Changes nothing."""
    plan = _plan(currency, cut_off, minimum, max_payments)
    with local_api.administrator(settings_from(data_dir)) as client:
        draft = client.payouts.preview(adapter, rate, **plan)
    if as_json:
        print_json(draft)
        return
    _print_payments(draft)
    rows = [
        (_named(omitted), amount_cell(omitted.amount), _OMITTED[Omitted(omitted.reason)])
        for omitted in draft.omitted
    ]
    if rows:
        typer.echo("\nNot paid:")
        print_rows(("MINER", "PAYABLE (CREDITS)", "REASON"), rows)


@app.command("create")
def create(
    rate: RateOption = None,
    adapter: AdapterOption = "file",
    currency: CurrencyOption = None,
    cut_off: CutOffOption = None,
    minimum: MinimumOption = None,
    max_payments: MaxOption = None,
    note: Annotated[str, typer.Option(help="Note on its purpose, such as the month.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a batch. Its money is reserved; nothing is sent before `payouts approve`."""
    plan = _plan(currency, cut_off, minimum, max_payments)
    with local_api.administrator(settings_from(data_dir)) as client:
        batch = client.payouts.create(adapter, rate, note=note, **plan)
    if as_json:
        print_json(batch)
    else:
        typer.echo(batch.batch_id)
        typer.echo(
            f"{_count(batch)}, {credits_text(batch.amount)} in total, {batch.sent_amount} {batch.currency}. "
            f"Approve with `aitbc-agent payouts approve {batch.batch_id}`.",
            err=True,
        )


@app.command("approve")
def approve(batch: BatchArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Approve a batch: its manifest is written to the log, and the adapter sends the payments."""
    settings = settings_from(data_dir)
    batch_id = find_batch(settings, batch)
    with local_api.administrator(settings) as client:
        _print_state(client.payouts.approve(batch_id), as_json=as_json)


@app.command("cancel")
def cancel(batch: BatchArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Cancel a batch that the adapter has not begun to send. The money returns to the miners' earnings."""
    settings = settings_from(data_dir)
    batch_id = find_batch(settings, batch)
    with local_api.administrator(settings) as client:
        _print_state(client.payouts.cancel(batch_id), as_json=as_json)


def _print_state(batch: PayoutBatchDetails, *, as_json: bool) -> None:
    if as_json:
        print_json(batch)
    else:
        typer.echo(
            f"{batch.batch_id} is {batch.status}: {_count(batch)}, {batch.sent_amount} {batch.currency}."
        )


@app.command("list")
def list_batches(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List batches, newest first, and the adapters."""
    with local_api.administrator(settings_from(data_dir)) as client:
        page = client.payouts.batches(limit=local_api.PAGE)
    if as_json:
        print_json(page)
        return
    rows = [
        (str(batch.batch_id), batch.status, str(batch.count), amount_cell(batch.amount), batch.adapter, batch.currency, moment(batch.created_at), batch.note)
        for batch in page.batches
    ]  # fmt: skip
    titles = ("BATCH", "STATUS", "PAYMENTS", "AMOUNT (CREDITS)", "ADAPTER", "CURRENCY", "CREATED", "NOTE")
    print_rows(titles, rows, free=("NOTE",))
    for adapter in page.adapters:
        if adapter.fault is not None:
            typer.echo(f"{adapter.adapter} cannot be used: {adapter.fault}", err=True)


@app.command("show")
def show(batch: BatchArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a batch with its payments, and errors if there are any."""
    settings = settings_from(data_dir)
    details = _details(settings, batch)
    if as_json:
        print_json(details)
        return
    typer.echo(
        f"{details.batch_id} is {details.status}: {_count(details)} by {details.adapter}, {credits_text(details.amount)} at {details.rate} is "
        f"{details.sent_amount} {details.currency}"
    )
    _print_payments(details)
    errors = Counter(
        text for text in (details.error, *(transfer.error for transfer in details.transfers)) if text
    )
    for text, count in errors.items():
        print_text(f"Retried automatically after: {text}" + (f" ({count} times)" if count > 1 else ""))


@app.command("export")
def export(
    batch: BatchArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write. Default: standard output.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Only the payments, as CSV instead of JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Write a batch with its payments and its manifest to a file."""
    settings = settings_from(data_dir)
    details = _details(settings, batch)
    text = _csv_of(details) if as_csv else json.dumps(details.to_dict(), indent=2) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {output}", err=True)


def _details(settings: Settings, named: str) -> PayoutBatchDetails:
    batch_id = find_batch(settings, named)
    with local_api.administrator(settings) as client:
        return client.payouts.batch(batch_id)


def _csv_of(batch: PayoutBatchDetails) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV)
    writer.writeheader()
    rows = [{name: harmless(str(payout.get(name, ""))) for name in _CSV} for payout in batch.payouts]
    writer.writerows(rows)
    return text.getvalue()


@app.command("history")
def history(
    miner: Annotated[str | None, typer.Option(help="A miner's id. Default: this agent's miner.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a miner's payments, and how much is available, on hold and on its way."""
    settings = settings_from(data_dir)
    miner_id = _miner(settings, miner)
    with local_api.owner(settings) as client:
        page = client.payouts.of_miner(miner_id, limit=local_api.PAGE)
    if as_json:
        print_json(page)
        return
    typer.echo(
        f"{credits_text(page.available)} available, {credits_text(page.on_hold)} on hold, {credits_text(page.pending)} on the way, "
        f"{credits_text(page.paid_out)} paid out"
    )
    rows = [
        (payout.payout_id, payout.status, amount_cell(payout.amount), f"{payout.sent_amount} {payout.currency}", payout.address, moment(payout.created_at), _remark(payout))
        for payout in page.payouts
    ]  # fmt: skip
    if rows:
        titles = ("PAYOUT", "STATUS", "AMOUNT (CREDITS)", "SENT", "ADDRESS", "CREATED", "REMARK")
        print_rows(titles, rows, free=("ADDRESS", "REMARK"))


@app.command("verify")
def verify(
    payout: Annotated[
        str | None,
        typer.Argument(
            metavar="[PAYOUT|FILE]",
            help="A payment's id, or a file with its proof. Default: all payments of this agent's miner.",
        ),
    ] = None,
    log_key: Annotated[
        str | None,
        typer.Option(help="Public key of the coordinator's log.", show_default="the one this agent knows"),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file with logs, witnesses and a quorum, instead of a log key.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Also write the proof to this file, for later.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Verify that payments are part of batches whose manifests are in the log. A file is verified offline. Exit code 3: a proof is not valid."""
    settings = settings_from(data_dir)
    proofs = _proofs(settings, payout)
    if save is not None:
        if len(proofs) != 1:
            raise typer.BadParameter("--save needs exactly one payment.")
        save.write_text(json.dumps(next(iter(proofs.values())), indent=1) + "\n", encoding="utf-8")
    trust = (
        trusted(log_key, policy) if log_key or policy else Policy.of_log(agent_file.read(settings).log_key)
    )
    outcomes = {name: verify_payout(proof, trust) for name, proof in proofs.items()}
    if as_json:
        print_json({name: _as_json(outcome) for name, outcome in outcomes.items()})
    else:
        for name, outcome in outcomes.items():
            _print_outcome(name, outcome)
    if not all(outcome.valid for outcome in outcomes.values()):
        raise typer.Exit(NOT_VALID)


def _proofs(settings: Settings, payout: str | None) -> dict[str, Any]:
    if payout is not None and Path(payout).is_file():
        try:
            return {payout: parse_json(Path(payout).read_bytes())}
        except FormatError as error:
            raise FormatError(f"{payout} is not the proof of a payment: {error}") from None
    if payout is not None:
        with local_api.owner(settings) as client:
            return {payout: client.payouts.proof(payout)}
    miner_id = agent_file.read(settings).miner_id
    if miner_id is None:
        raise ConfigurationError("This agent runs no miner. Name a payment, or a file with its proof.")
    with local_api.owner(settings) as client:
        payouts = client.payouts.of_miner(miner_id, limit=local_api.PAGE).payouts
        logged = [item.payout_id for item in payouts if item.status not in {"created", "cancelled"}]
        if not logged:
            raise ConfigurationError("This miner has no approved payment yet.")
        return {payout_id: client.payouts.proof(payout_id) for payout_id in logged}


def _as_json(outcome: PayoutVerification) -> dict[str, Any]:
    payment = None if outcome.payment is None else outcome.payment.to_json()
    return {"valid": outcome.valid, "failures": list(outcome.failures), "payment": payment}


def _print_outcome(name: str, outcome: PayoutVerification) -> None:
    for check in outcome.checks:
        print_text(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.message}")
    if outcome.valid and outcome.payment is not None:
        payment = outcome.payment
        print_text(f"valid: {name}, {payment.sent_amount} {payment.currency} to {payment.address}")
    else:
        print_text(f"NOT valid: {name}")


def _miner(settings: Settings, named: str | None) -> str:
    miner_id = named or agent_file.read(settings).miner_id
    if miner_id is None:
        raise ConfigurationError("This agent runs no miner. Name one with --miner.")
    return miner_id


def _count(batch: PayoutBatchDetails) -> str:
    return f"{batch.count} payment{'' if batch.count == 1 else 's'}"


def _named(miner: Payout | OmittedMiner) -> str:
    return f"{miner.miner_id} ({miner.miner_name})" if miner.miner_name else miner.miner_id


def _remark(payout: Payout) -> str:
    return payout.reason or payout.waiting_for or payout.reference or ""


def _print_payments(batch: PayoutBatchDetails) -> None:
    rows = [
        (_named(payout), payout.status, amount_cell(payout.amount), f"{payout.sent_amount} {payout.currency}", payout.address, _remark(payout))
        for payout in batch.payouts
    ]  # fmt: skip
    if rows:
        titles = ("MINER", "STATUS", "AMOUNT (CREDITS)", "SENT", "ADDRESS", "REMARK")
        print_rows(titles, rows, free=("ADDRESS", "REMARK"))
    else:
        typer.echo("No miner would be paid." if batch.status == "draft" else "No payments.")
