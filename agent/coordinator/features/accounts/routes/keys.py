"""`/v1/key` and `/v1/keys`: the caller's key, and other keys of its account."""

from __future__ import annotations

from fastapi import APIRouter, status

from agent.coordinator.features.accounts import keys
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.operations.accounts import access
from agent.coordinator.routes._callers import AnyCaller, Client, ContextOf, KeyName, RequestBody
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, NotFound
from aitbc.answers import fields
from aitbc.answers.accounts import Key, NewKey, OwnKeyList

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["Keys and logins"])


class OwnKeyRequest(RequestBody):
    """Another key for the caller's account. `name` describes its purpose."""

    name: KeyName


@router.get(
    "/key", response_model_exclude_none=True, responses=errors(NotFound), summary="Whose key is this?"
)
async def whoami(context: ContextOf, caller: AnyCaller) -> Key:
    """Returns the key of this request: its role, and its account or miner."""
    return access.view(await keys.own_key(context, caller))


@router.delete(
    "/key",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound),
    summary="Revoke this key",
)
async def log_out(context: ContextOf, caller: AnyCaller) -> None:
    """The key of this request is invalid from now on. The dashboard logs out this way."""
    await access.revoke_key(context, caller.key_id)


@router.get(
    "/keys", response_model_exclude_none=True, responses=errors(Conflict), summary="List your account's keys"
)
async def list_own(context: ContextOf, caller: Client) -> OwnKeyList:
    """The valid keys, without their secrets, which are not stored."""
    records = await keys.own_keys(context, caller)
    return OwnKeyList(
        keys=[access.view(record) for record in records], limit=context.settings.max_keys_per_account
    )


@router.post(
    "/keys",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(Conflict),
    summary="Create another key for your account",
)
async def create_own(context: ContextOf, caller: Client, request: OwnKeyRequest) -> NewKey:
    """The answer contains the secret, which cannot be retrieved later. The key has the same rights as the account's other keys."""
    created = await keys.create_own_key(context, caller, request.name)
    return NewKey(**vars(access.view(created.record)), key=created.secret)


@router.delete(
    "/keys/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound, Conflict),
    summary="Revoke another key of your account",
)
async def revoke_own(context: ContextOf, caller: Client, key_id: fields.KeyId) -> None:
    """The key is invalid from now on. To revoke the key of the request itself, use `DELETE /v1/key`."""
    await keys.revoke_own_key(context, caller, key_id)
