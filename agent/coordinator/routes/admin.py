"""`/v1/admin`: accounts, keys, enrolment tokens and an overview, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status
from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations.accounts import access, logins, wallet
from agent.coordinator.operations.answers.accounts import AccountPage, Credited, Key, LoginLink
from agent.coordinator.operations.answers.miners import Exclusion, Inclusion, Overview
from agent.coordinator.operations.callers import Role
from agent.coordinator.operations.miners import exclusion, machines
from agent.coordinator.routes._callers import Admin, ContextOf, KeyName, Limit, NewKey
from agent.core.errors import NotFound
from agent.core.values import fields
from agent.core.values.fields import Answer
from agent.core.values.quantities import Money, format_time

router = APIRouter(route_class=LargeJsonRoute, prefix="/admin", tags=["Administration"])


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AccountRequest(_Request):
    """A new account."""

    name: KeyName


class CreditRequest(_Request):
    """An amount for an account, as a decimal string."""

    amount: Money = Field(examples=["100"])
    note: Annotated[str, Field(max_length=200, examples=["January"])] = ""


class KeyRequest(_Request):
    """A new key. A client's key needs an account; the key of a miner's owner needs the miner."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"role": "client", "name": "render farm", "account_id": "account_1234567890"}]
        }
    )

    role: Annotated[Role, Field(strict=False)]
    name: KeyName
    account_id: str | None = None
    miner_id: str | None = None


class EnrolmentRequest(_Request):
    """A new enrolment token, with which miners can register."""

    uses: Annotated[int, Field(ge=1, le=10_000)] = 1
    valid_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = 86_400


class LoginRequest(_Request):
    """The keys that a login link yields: a client's key of the account, an owner's key of the miner, an administrator's key.

    Without any field, the link yields an administrator's key.
    """

    account_id: str | None = None
    miner_id: str | None = None
    admin: bool = False


class NewAccount(Answer):
    """A new account."""

    account_id: fields.AccountId
    name: str = Field(examples=["render farm"])


class KeyList(Answer):
    """All keys, including revoked ones."""

    keys: list[Key]


class Enrolment(Answer):
    """A new enrolment token."""

    enrolment_token: str = Field(examples=["enrol_secret"])
    uses: int = Field(examples=[1])
    expires_at: fields.Time


class ExclusionRequest(_Request):
    """The reason for an exclusion, which the miner's owner sees."""

    reason: Annotated[str, Field(max_length=200, examples=["It returns results that were not computed."])] = (
        ""
    )


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
) -> AccountPage:
    """All accounts with their balance and escrow, oldest first."""
    return await wallet.accounts(context, limit=limit, after=after)


@router.post(
    "/accounts/{account_id}/credit",
    status_code=status.HTTP_201_CREATED,
    responses=errors(NotFound),
    summary="Credit an account",
)
async def credit(
    context: ContextOf, _: Admin, account_id: fields.AccountId, request: CreditRequest
) -> Credited:
    """The account can spend the amount at once."""
    return await wallet.add_credit(context, account_id, request.amount, request.note)


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
    new = await access.create_key(
        context, request.role, name=request.name, account_id=request.account_id, miner_id=request.miner_id
    )
    return NewKey(**vars(access.view(new.record)), key=new.secret)


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
        await exclusion.end_session_of_key(context, revoked.miner_id)


@router.post("/enrolments", status_code=status.HTTP_201_CREATED, summary="Create an enrolment token")
async def create_enrolment(context: ContextOf, _: Admin, request: EnrolmentRequest) -> Enrolment:
    """The answer contains the token, which cannot be retrieved later."""
    token, expires_at = await access.create_enrolment(
        context, uses=request.uses, valid_seconds=request.valid_seconds
    )
    return Enrolment(enrolment_token=token, uses=request.uses, expires_at=format_time(expires_at))


@router.post(
    "/logins", status_code=status.HTTP_201_CREATED, responses=errors(NotFound), summary="Create a login link"
)
async def create_login(context: ContextOf, _: Admin, request: LoginRequest | None = None) -> LoginLink:
    """The link can be used once, within minutes. It opens the dashboard with new keys (docs/how-to/dashboard.md)."""
    chosen = request or LoginRequest()
    return await logins.create_login(
        context, account_id=chosen.account_id, miner_id=chosen.miner_id, admin=chosen.admin
    )


@router.post("/miners/{miner_id}/exclude", responses=errors(NotFound), summary="Exclude a miner")
async def exclude_miner(
    context: ContextOf, _: Admin, miner_id: fields.MinerId, request: ExclusionRequest | None = None
) -> Exclusion:
    """Its session ends at once, its running jobs go to other miners, and it can no longer register."""
    reason = request.reason if request is not None else ""
    return await exclusion.exclude(context, miner_id, reason)


@router.post("/miners/{miner_id}/include", responses=errors(NotFound), summary="Readmit a miner")
async def include_miner(context: ContextOf, _: Admin, miner_id: fields.MinerId) -> Inclusion:
    """The miner can register again, which it attempts every few minutes."""
    return await exclusion.include(context, miner_id)


@router.get("/overview", summary="Miners and queue")
async def overview(context: ContextOf, _: Admin) -> Overview:
    """All miners with the services that they offer or cannot offer, and the number of jobs in each state."""
    return await machines.overview(context)
