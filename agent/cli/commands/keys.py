"""`aitbc-agent keys`: API keys of clients, miners' owners and administrators."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.coordinator.operations.callers import Role

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """All keys, without their secrets."""
    keys = local_api.call(settings_from(data_dir), "GET", "admin/keys")["keys"]
    if as_json:
        print_json(keys)
        return
    table = Table("Key", "Role", "Name", "For", "Created", "Revoked")
    for key in keys:
        owner = key.get("account_id") or key.get("miner_id") or ""
        table.add_row(
            key["key_id"], key["role"], key["name"], owner, key["created_at"], key.get("revoked_at", "")
        )
    Console().print(table)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, in your words.")],
    role: Annotated[Role, typer.Option(help="What it allows.")] = Role.CLIENT,
    account: Annotated[
        str | None, typer.Option(help="Account of a client's key; a new one by default.")
    ] = None,
    miner: Annotated[str | None, typer.Option(help="Miner of an owner's key.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is shown this once. A new account has no money until `accounts credit` gives it some."""
    settings = settings_from(data_dir)
    if role is Role.CLIENT and account is None:
        account = local_api.call(settings, "POST", "admin/accounts", {"name": name})["account_id"]
    body = {"role": role.value, "name": name, "account_id": account, "miner_id": miner}
    answer = local_api.call(settings, "POST", "admin/keys", {k: v for k, v in body.items() if v is not None})
    if as_json:
        print_json(answer)
        return
    typer.echo(answer["key"])
    typer.echo(f"{answer['key_id']} was made; keep the key, it is not shown again.", err=True)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key useless from now on."""
    local_api.call(settings_from(data_dir), "DELETE", f"admin/keys/{key_id}")
    if as_json:
        print_json({"key_id": key_id, "revoked": True})
    else:
        typer.echo(f"{key_id} is revoked.")
