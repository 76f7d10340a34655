"""The keys of the agent's own user, a client and an administrator, created at the first start and stored."""

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
    """Return the keys stored at `path` (mode 0600), or new ones if they are missing or not valid in the database.

    The client's account is credited once.
    """
    keys = await _stored_or_new(context, path)
    await wallet.credit_once(
        context, keys.account_id, context.settings.local_credit, "the agent's own account"
    )
    return keys


async def _stored_or_new(context: Context, path: Path) -> LocalKeys:
    stored = _read(path)
    if stored is not None and await _are_valid(context, stored):
        return stored
    account_id = await access.create_account(context, "local")
    client = await access.create_key(context, Role.CLIENT, name="local client", account_id=account_id)
    admin = await access.create_key(context, Role.ADMIN, name="local administrator")
    created = LocalKeys(account_id, client.secret, admin.secret)
    write_private(path, asdict(created))
    return created


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
