"""The keys of the agent's own user: a client account and an administrator, made at the first start and kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.cli.agent_file import write_private
from agent.coordinator.operations.accounts import access, wallet
from agent.coordinator.operations.callers import Role
from agent.coordinator.operations.context import Context
from agent.core.errors import Unauthorized


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """Secrets of the local client and administrator."""

    account_id: str
    client_key: str
    admin_key: str


async def local_keys(context: Context, path: Path) -> LocalKeys:
    """The keys kept at `path` (mode 0600); new ones if there are none or the database does not know them.

    The client's account is credited once.
    """
    keys = await _kept_or_new(context, path)
    await wallet.credit_once(
        context, keys.account_id, context.settings.local_credit, "the agent's own account"
    )
    return keys


async def _kept_or_new(context: Context, path: Path) -> LocalKeys:
    kept = _read(path)
    if kept is not None and await _are_valid(context, kept):
        return kept
    account_id = await access.create_account(context, "local")
    client = await access.create_key(context, Role.CLIENT, name="local client", account_id=account_id)
    admin = await access.create_key(context, Role.ADMIN, name="local administrator")
    made = LocalKeys(account_id, client.secret, admin.secret)
    write_private(path, asdict(made))
    return made


def _read(path: Path) -> LocalKeys | None:
    try:
        return LocalKeys(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


async def _are_valid(context: Context, keys: LocalKeys) -> bool:
    try:
        client = await access.authenticate(context, keys.client_key)
        admin = await access.authenticate(context, keys.admin_key)
    except Unauthorized:
        return False
    return client.account_id == keys.account_id and admin.role is Role.ADMIN
