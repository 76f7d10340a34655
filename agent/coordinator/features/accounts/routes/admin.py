"""`/v1/admin`: accounts and keys, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status
from pydantic import Field

from agent.coordinator.features.accounts import wallets
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.operations.accounts import access, bookings
from agent.coordinator.operations.miners import sessions
from agent.coordinator.routes._callers import (
    Admin,
    ContextOf,
    IdempotencyKey,
    KeyName,
    Limit,
    RequestBody,
)
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, InsufficientBalance, NotFound
from agent.core.values.quantities import Money
from aitbc.answers import fields
from aitbc.answers.accounts import AccountList, Booked, KeyList, NewAccount, NewKey, Role
from aitbc.answers.fields import example

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/admin", tags=["Administration"])


class AccountRequest(RequestBody):
    """A new account."""

    name: KeyName


class CreditRequest(RequestBody):
    """An amount for an account, as a decimal string."""

    amount: Money = Field(examples=["100"])
    note: Annotated[str, Field(max_length=200, examples=["January"])] = ""


class KeyRequest(RequestBody):
    """A new key. A client's key needs an account; the key of a miner's owner needs the miner."""

    model_config = example({"role": "client", "name": "render farm", "account_id": "account_1234567890"})

    role: Annotated[Role, Field(strict=False)]
    name: KeyName
    account_id: str | None = None
    miner_id: str | None = None


class DebitRequest(CreditRequest):
    """An amount to take back from an account, as a decimal string. With `force`, the balance may become negative."""

    force: bool = False


@router.post("/accounts", status_code=status.HTTP_201_CREATED, summary="Create an account")
async def create_account(context: ContextOf, _: Admin, request: AccountRequest) -> NewAccount:
    """An account owns jobs, artifacts and money."""
    return NewAccount(account_id=await access.create_account(context, request.name), name=request.name)


@router.get("/accounts", response_model_exclude_none=True, summary="List accounts")
async def list_accounts(
    context: ContextOf,
    _: Admin,
    limit: Limit = 50,
    after: Annotated[
        str | None,
        Query(max_length=64, description="Continue after this account: `next` of the previous page"),
    ] = None,
) -> AccountList:
    """All accounts with their balance and escrow, oldest first."""
    return await context.database.read(wallets.accounts, context, limit, after)


@router.post(
    "/accounts/{account_id}/credit",
    status_code=status.HTTP_201_CREATED,
    responses=errors(NotFound, Conflict),
    summary="Credit an account",
)
async def credit(
    context: ContextOf,
    _: Admin,
    account_id: fields.AccountId,
    request: CreditRequest,
    key: IdempotencyKey = None,
) -> Booked:
    """The account can spend the amount immediately."""
    return await bookings.add_credit(context, account_id, request.amount, request.note, key)


@router.post(
    "/accounts/{account_id}/debits",
    status_code=status.HTTP_201_CREATED,
    responses=errors(NotFound, Conflict, InsufficientBalance),
    summary="Debit an account",
)
async def debit(
    context: ContextOf,
    _: Admin,
    account_id: fields.AccountId,
    request: DebitRequest,
    key: IdempotencyKey = None,
) -> Booked:
    """Takes unspent money back. What is held for unfinished jobs stays held. Without `force`, at most the balance can be debited."""
    return await bookings.add_debit(
        context, account_id, request.amount, request.note, force=request.force, key=key
    )


@router.get("/keys", response_model_exclude_none=True, summary="List keys")
async def list_keys(context: ContextOf, _: Admin) -> KeyList:
    """All keys, without their secrets, which are not stored."""
    return KeyList(keys=[access.view(record) for record in await access.list_keys(context)])


@router.post(
    "/keys",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(NotFound),
    summary="Create a key",
)
async def create_key(context: ContextOf, _: Admin, request: KeyRequest) -> NewKey:
    """The answer contains the secret, which cannot be retrieved later."""
    created = await access.create_key(
        context, request.role, name=request.name, account_id=request.account_id, miner_id=request.miner_id
    )
    return NewKey(**vars(access.view(created.record)), key=created.secret)


@router.delete(
    "/keys/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound),
    summary="Revoke a key",
)
async def revoke_key(context: ContextOf, _: Admin, key_id: fields.KeyId) -> None:
    """The key is invalid from now on. Revoking the key of a miner's owner ends the miner's session; to keep the miner out, exclude it."""
    revoked = await access.revoke_key(context, key_id)
    if revoked.miner_id is not None:
        await sessions.end_session_of_key(context, revoked.miner_id)
