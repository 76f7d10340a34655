"""`aitbc-agent payouts address`: where a miner is paid to. Changes are signed with the miner's identity key, on its machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.core.errors import ConfigurationError
from agent.core.values.quantities import format_time
from agent.miner.identity import IDENTITY_FILE, Identity, load_identity
from agent.settings import Settings
from aitbc.answers.payouts import PayoutAddresses
from aitbc.cli._terminal.output import moment
from aitbc.keys import parse_vkey
from aitbc.leaves.payouts import PayoutAddress

app = typer.Typer(help="Show and set the addresses to which miners are paid.", no_args_is_help=True)

MinerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--miner",
        metavar="DATA_DIR[=ADDRESS]",
        help="Data directory of one of your miners, with =ADDRESS if its address differs; may be repeated. Default: this agent's.",
    ),
]


@app.command("set")
def set_address(
    address: Annotated[str, typer.Argument(help="The address, in the form that the adapter asks for.")],
    adapter: Annotated[
        str, typer.Option(help="The coordinator's adapter that pays to this address.")
    ] = "file",
    currency: Annotated[str | None, typer.Option(help="Currency. Default: the adapter's first one.")] = None,
    miner: MinerOption = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Set or change the payout address. The first one applies immediately; a change waits, so that you can cancel one that is not yours."""
    settings = settings_from(data_dir)
    answers = {}
    for identity, chosen in _identities(settings, miner, address):
        addresses = _read(settings, identity.miner_id)
        destination = (adapter, currency or _currency(addresses, adapter), chosen)
        answers[identity.miner_id] = _send(settings, identity, destination)
    _print(answers, as_json=as_json)


@app.command("cancel")
def cancel(miner: MinerOption = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Cancel a pending change by signing the current address again."""
    settings = settings_from(data_dir)
    answers = {}
    for identity, _ in _identities(settings, miner, ""):
        addresses = _read(settings, identity.miner_id)
        present = addresses.address
        if addresses.pending is None or present is None:
            raise ConfigurationError(f"No change of the address of {identity.miner_id} is pending.")
        destination = (present.adapter, present.currency, present.address)
        answers[identity.miner_id] = _send(settings, identity, destination)
    _print(answers, as_json=as_json)


@app.command("show")
def show(
    miner: Annotated[
        list[str] | None, typer.Option(help="A miner's id; may be repeated. Default: this agent's.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the payout address and any pending change."""
    settings = settings_from(data_dir)
    chosen = miner or [agent_file.read(settings).miner_id or ""]
    if chosen == [""]:
        raise ConfigurationError("This agent runs no miner. Name one with --miner.")
    _print({miner_id: _read(settings, miner_id) for miner_id in chosen}, as_json=as_json)


def _identities(settings: Settings, named: list[str] | None, address: str) -> list[tuple[Identity, str]]:
    """Return the miners that the options name, each with its address. Raises `ConfigurationError` for a directory without a miner."""
    if not named:
        return [(identity_of(settings.data_dir), address)]
    identities = []
    for text in named:
        directory, _, own_address = text.partition("=")
        identities.append((identity_of(Path(directory).expanduser()), own_address or address))
    return identities


def identity_of(data_dir: Path) -> Identity:
    """Return the identity of the miner in a data directory. Raises `ConfigurationError` if there is none."""
    directory = data_dir / "miner"
    if not (directory / IDENTITY_FILE).exists():
        raise ConfigurationError(
            f"{data_dir} has no miner: there is no {directory / IDENTITY_FILE}. Run the command on the miner's machine, or name its "
            "data directory."
        )
    return load_identity(directory)


def _read(settings: Settings, miner_id: str) -> PayoutAddresses:
    with local_api.owner(settings) as client:
        return client.payouts.address(miner_id)


def _currency(addresses: PayoutAddresses, adapter: str) -> str:
    for usable in addresses.adapters:
        if usable.adapter == adapter and usable.currencies:
            return next(iter(usable.currencies))
    names = ", ".join(usable.adapter for usable in addresses.adapters) or "none"
    raise ConfigurationError(
        f"The coordinator cannot pay by {adapter}. Choose one of its adapters with --adapter: {names}."
    )


def _send(settings: Settings, identity: Identity, destination: tuple[str, str, str]) -> PayoutAddresses:
    adapter, currency, address = destination
    now = time.time()
    statement = PayoutAddress(
        miner_id=identity.miner_id,
        adapter=adapter,
        address=address,
        currency=currency,
        sequence=int(now * 1000),
        created_at=format_time(now),
        origin=parse_vkey(agent_file.read(settings).log_key)[0],
    )
    with local_api.owner(settings) as client:
        return client.payouts.set_address(identity.miner_id, statement.sign(identity.signing_key))


def _print(answers: Mapping[str, PayoutAddresses], *, as_json: bool) -> None:
    if as_json:
        print_json(answers)
        return
    for miner_id, addresses in answers.items():
        present, pending = addresses.address, addresses.pending
        if present is None:
            typer.echo(
                f"{miner_id} has no payout address, so it is not paid. Set one with `aitbc-agent payouts address set`."
            )
            continue
        typer.echo(f"{miner_id} is paid to {present.address} ({present.currency} by {present.adapter}).")
        if pending is not None:
            typer.echo(
                f"  From {moment(pending.effective_at)} on it is paid to {pending.address} ({pending.currency} by "
                f"{pending.adapter}). If you did not change this, run `aitbc-agent payouts address cancel`."
            )
