"""`/v1/admin`: accounts, keys, enrolment tokens, an overview. For administrators."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, status
from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.operations import access, miners, wallet
from agent.coordinator.operations.access import KeyRecord, Role
from agent.coordinator.routes._answers import AccountPage, Credited
from agent.coordinator.routes._callers import Admin, ContextOf
from agent.core.quantities import Money, format_time

router = APIRouter(prefix="/admin", tags=["Administration"])

Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AccountRequest(_Request):
    """A new account."""

    name: Name


class CreditRequest(_Request):
    """Money for an account, a decimal string."""

    amount: Money
    note: Annotated[str, Field(max_length=200)] = ""


class KeyRequest(_Request):
    """A new key: for a client with its account, for a miner's owner with the miner."""

    role: Role
    name: Name
    account_id: str | None = None
    miner_id: str | None = None


class EnrolmentRequest(_Request):
    """A token with which miners may join."""

    uses: Annotated[int, Field(ge=1, le=10_000)] = 1
    valid_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = 86_400


@router.post("/accounts", status_code=status.HTTP_201_CREATED, summary="Create an account")
async def create_account(context: ContextOf, _: Admin, request: AccountRequest) -> dict[str, str]:
    """An account owns jobs and artifacts."""
    return {"account_id": await access.create_account(context, request.name), "name": request.name}


@router.get("/accounts", response_model_exclude_none=True, summary="List accounts")
async def list_accounts(
    context: ContextOf,
    _: Admin,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[
        str | None, Query(max_length=64, description="Go on after this account: `next` of the last page")
    ] = None,
) -> AccountPage:
    """With what each can spend and has in escrow, oldest first."""
    return AccountPage(**await wallet.accounts(context, limit=limit, after=after))


@router.post(
    "/accounts/{account_id}/credit", status_code=status.HTTP_201_CREATED, summary="Credit an account"
)
async def credit(context: ContextOf, _: Admin, account_id: str, request: CreditRequest) -> Credited:
    """The account can spend it at once."""
    return Credited(**await wallet.add_credit(context, account_id, request.amount, request.note))


@router.get("/keys", summary="List keys")
async def list_keys(context: ContextOf, _: Admin) -> dict[str, list[dict[str, Any]]]:
    """Without their secrets, which are not kept."""
    return {"keys": [_key(record) for record in await access.list_keys(context)]}


@router.post("/keys", status_code=status.HTTP_201_CREATED, summary="Create a key")
async def create_key(context: ContextOf, _: Admin, request: KeyRequest) -> dict[str, Any]:
    """The answer holds the secret, this once."""
    new = await access.create_key(
        context, request.role, name=request.name, account_id=request.account_id, miner_id=request.miner_id
    )
    return {**_key(new.record), "key": new.secret}


@router.delete("/keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT, summary="Revoke a key")
async def revoke_key(context: ContextOf, _: Admin, key_id: str) -> None:
    """The key is useless from now on."""
    await access.revoke_key(context, key_id)


@router.post("/enrolments", status_code=status.HTTP_201_CREATED, summary="Make an enrolment token")
async def create_enrolment(context: ContextOf, _: Admin, request: EnrolmentRequest) -> dict[str, Any]:
    """The answer holds the token, this once."""
    token, expires_at = await access.create_enrolment(
        context, uses=request.uses, valid_seconds=request.valid_seconds
    )
    return {"enrolment_token": token, "uses": request.uses, "expires_at": format_time(expires_at)}


@router.get("/overview", summary="Miners and queue")
async def overview(context: ContextOf, _: Admin) -> dict[str, Any]:
    """All miners with what they offer and what they do not, and how many jobs are in each state."""
    return await miners.overview(context)


def _key(record: KeyRecord) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(record).items() if value is not None}
    for name in ("created_at", "revoked_at"):
        if name in shown:
            shown[name] = format_time(shown[name])
    return shown
