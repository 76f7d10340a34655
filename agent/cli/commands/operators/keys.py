"""`aitbc-agent keys`: manage the API keys of clients, miners' owners and administrators."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import local_api
from agent.cli.lookups import find_account, find_key, find_miner
from agent.cli.options import AsJson, DataDir, print_json, print_result, settings_from
from aitbc.answers.accounts import Role
from aitbc.cli._terminal.output import moment, print_rows

app = typer.Typer(
    help="""Manage API keys.

Examples:
  aitbc-agent keys create ada
  aitbc-agent keys create bob --role admin
  aitbc-agent keys revoke last
""",
    no_args_is_help=True,
)


@app.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all keys, without their secrets."""
    with local_api.administrator(settings_from(data_dir)) as client:
        listed = client.admin.keys()
    if as_json:
        print_json(listed)
        return
    rows = [
        (
            key.key_id,
            key.role,
            key.name,
            moment(key.created_at),
            moment(key.revoked_at),
            key.account_id or key.miner_id or "",
        )
        for key in listed
    ]
    print_rows(("KEY", "ROLE", "NAME", "CREATED", "REVOKED", "FOR"), rows, free=("NAME",))


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name for the key, such as its purpose.")],
    role: Annotated[Role, typer.Option(help="What the key permits.")] = Role.CLIENT,
    account: Annotated[
        str | None, typer.Option(help="Account of a client's key, by name or id; by default a new one.")
    ] = None,
    miner: Annotated[str | None, typer.Option(help="Miner of an owner's key, by name or id.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. Its secret is shown only once. A new account has no money until `accounts credit` adds some."""
    with local_api.administrator(settings_from(data_dir)) as client:
        account_id = None if account is None else find_account(client, account)
        miner_id = None if miner is None else find_miner(client, miner)
        if role is Role.CLIENT and account_id is None:
            account_id = client.admin.create_account(name).account_id
        created = client.admin.create_key(role.value, name, account_id=account_id, miner_id=miner_id)
    if as_json:
        print_json(created)
        return
    typer.echo(created.key)
    typer.echo(f"Created {created.key_id}. Save the key now; it is not shown again.", err=True)


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="The key: its id or a part of it, its name, or `last`.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key with immediate effect."""
    with local_api.administrator(settings_from(data_dir)) as client:
        key_id = find_key(client, key)
        client.admin.revoke_key(key_id)
    print_result({"key_id": key_id, "revoked": True}, f"{key_id} is revoked.", as_json=as_json)
