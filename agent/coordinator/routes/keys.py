"""`/v1/key`, `/v1/keys` and `/v1/login`: the caller's own key, further ones for its account, and how a dashboard gets its keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, status
from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations.accounts import access, logins
from agent.coordinator.operations.answers.accounts import Key
from agent.coordinator.operations.callers import Role
from agent.coordinator.routes._callers import AnyCaller, Client, ContextOf, KeyName, NewKey
from agent.core.errors import Conflict, NotFound, Unauthorized
from agent.core.values import fields
from agent.core.values.fields import Answer

router = APIRouter(route_class=LargeJsonRoute, tags=["Keys and logins"])


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OwnKeyRequest(_Request):
    """Another key for the caller's account. `name` says what it is for, in your words."""

    name: KeyName


class OwnKeyList(Answer):
    """The valid keys of the caller's account, oldest first, and how many it may have."""

    keys: list[Key]
    limit: int = Field(examples=[50])


class LoginTokenRequest(_Request):
    """The token of a login link."""

    token: Annotated[str, Field(min_length=1, max_length=200, examples=["login_secret"])]


class GivenKey(Answer):
    """A key of a dashboard's own, with its secret."""

    role: Role
    key: str = Field(description="The secret", examples=["aitbc_client_secret"])
    key_id: fields.KeyId


class LoggedIn(Answer):
    """What the login link gives: keys by their roles."""

    keys: list[GivenKey]


@router.get(
    "/key", response_model_exclude_none=True, responses=errors(NotFound), summary="Whose key is this?"
)
async def whoami(context: ContextOf, caller: AnyCaller) -> Key:
    """The key with which you ask: its role, and the account or the miner that it is for."""
    return access.view(await access.own_key(context, caller))


@router.delete(
    "/key",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound),
    summary="Revoke the key with which you ask",
)
async def log_out(context: ContextOf, caller: AnyCaller) -> None:
    """So a dashboard logs out: the key is useless from now on."""
    await access.revoke_key(context, caller.key_id)


@router.get(
    "/keys", response_model_exclude_none=True, responses=errors(Conflict), summary="List your account's keys"
)
async def list_own(context: ContextOf, caller: Client) -> OwnKeyList:
    """Without their secrets, which are not kept."""
    records = await access.own_keys(context, caller)
    return OwnKeyList(
        keys=[access.view(record) for record in records], limit=context.settings.max_keys_per_account
    )


@router.post(
    "/keys",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(Conflict),
    summary="Make another key for your account",
)
async def create_own(context: ContextOf, caller: Client, request: OwnKeyRequest) -> NewKey:
    """The answer holds the secret, this once. It may do what every key of the account may."""
    new = await access.create_own_key(context, caller, request.name)
    return NewKey(**vars(access.view(new.record)), key=new.secret)


@router.delete(
    "/keys/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound, Conflict),
    summary="Revoke another key of your account",
)
async def revoke_own(context: ContextOf, caller: Client, key_id: fields.KeyId) -> None:
    """The key is useless from now on. The one with which you ask is revoked by `DELETE /v1/key`."""
    await access.revoke_own_key(context, caller, key_id)


@router.post("/login", responses=errors(Unauthorized), summary="Use a login link")
async def login(context: ContextOf, request: LoginTokenRequest) -> LoggedIn:
    """A link's token is good once, and for a few minutes: the answer holds new keys, this once."""
    return LoggedIn(
        keys=[
            GivenKey(role=Role(new.record.role), key=new.secret, key_id=new.record.key_id)
            for new in await logins.login(context, request.token)
        ]
    )
