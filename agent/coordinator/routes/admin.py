"""`/v1/admin`: accounts, keys, enrolment tokens, an overview. For administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status
from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations.accounts import access, logins, wallet
from agent.coordinator.operations.accounts.access import Role
from agent.coordinator.operations.miners import exclusion, sessions
from agent.coordinator.routes._answers import AccountPage, Credited, Key, KeyName, NewKey
from agent.coordinator.routes._callers import Admin, ContextOf, Limit
from agent.core.errors import NotFound
from agent.core.jobs import JobState
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
    """Money for an account, a decimal string."""

    amount: Money = Field(examples=["100"])
    note: Annotated[str, Field(max_length=200, examples=["January"])] = ""


class KeyRequest(_Request):
    """A new key: for a client with its account, for a miner's owner with the miner."""

    role: Annotated[Role, Field(strict=False)]
    name: KeyName
    account_id: str | None = None
    miner_id: str | None = None


class EnrolmentRequest(_Request):
    """A token with which miners may join."""

    uses: Annotated[int, Field(ge=1, le=10_000)] = 1
    valid_seconds: Annotated[float, Field(gt=0, le=30 * 86_400)] = 86_400


class LoginRequest(_Request):
    """What a login link gives: a client's key of the account, an owner's of the miner, an administrator's.

    Where none of them is named, an administrator's.
    """

    account_id: str | None = None
    miner_id: str | None = None
    admin: bool = False


class NewAccount(Answer):
    """An account just made."""

    account_id: fields.AccountId
    name: str = Field(examples=["render farm"])


class KeyList(Answer):
    """All keys, revoked ones too."""

    keys: list[Key]


class Enrolment(Answer):
    """A token just made."""

    enrolment_token: str = Field(examples=["enrol_secret"])
    uses: int = Field(examples=[1])
    expires_at: fields.Time


class LoginLink(Answer):
    """A link just made, good once."""

    token: str = Field(examples=["login_secret"])
    path: str = Field(description="At this server", examples=["/dashboard/#login=login_secret"])
    expires_at: fields.Time


class ExclusionRequest(_Request):
    """Why a miner is excluded; its owner is told."""

    reason: Annotated[str, Field(max_length=200, examples=["It returns results that were not computed."])] = (
        ""
    )


class Exclusion(Answer):
    """A miner that was excluded, and how many jobs were taken from it."""

    miner_id: fields.MinerId
    excluded_at: fields.Time
    requeued_jobs: int = Field(examples=[2])


class Inclusion(Answer):
    """A miner that may take part again."""

    miner_id: fields.MinerId


class MinerSummary(Answer):
    """A miner. `paused` is its reason for taking no work; `unavailable` says why services are not offered."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])
    online: bool
    seen_at: fields.Time
    session: int = Field(examples=[4])
    paused: str | None = Field(examples=[None])
    excluded_at: fields.Time | None = Field(description="When an operator excluded it", examples=[None])
    excluded_reason: str | None = Field(examples=[None])
    services: list[str] = Field(examples=[["llm_inference"]])
    unavailable: dict[str, list[str]] = Field(
        examples=[{"video_transcoding": ["ffmpeg was not found; install it or set runners.ffmpeg."]}]
    )
    gpus: list[str] = Field(examples=[["NVIDIA GeForce RTX 4090"]])
    slots: int = Field(examples=[1])


class DatabaseNumbers(Answer):
    """Since the start of the coordinator: how often the disk was waited for, and how many changes shared these commits."""

    commits: int = Field(examples=[120])
    writes: int = Field(examples=[840])


class Overview(Answer):
    """How many jobs are in each state, all miners, and what the database has written."""

    jobs: dict[JobState, int] = Field(examples=[{"submitted": 3, "running": 1, "completed": 40}])
    miners: list[MinerSummary]
    database: DatabaseNumbers


@router.post("/accounts", status_code=status.HTTP_201_CREATED, summary="Create an account")
async def create_account(context: ContextOf, _: Admin, request: AccountRequest) -> NewAccount:
    """An account owns jobs and artifacts."""
    return NewAccount(account_id=await access.create_account(context, request.name), name=request.name)


@router.get("/accounts", response_model_exclude_none=True, summary="List accounts")
async def list_accounts(
    context: ContextOf,
    _: Admin,
    limit: Limit = 50,
    after: Annotated[
        str | None, Query(max_length=64, description="Go on after this account: `next` of the last page")
    ] = None,
) -> AccountPage:
    """With what each can spend and has in escrow, oldest first."""
    return AccountPage(**await wallet.accounts(context, limit=limit, after=after))


@router.post(
    "/accounts/{account_id}/credit",
    status_code=status.HTTP_201_CREATED,
    responses=errors(NotFound),
    summary="Credit an account",
)
async def credit(
    context: ContextOf, _: Admin, account_id: fields.AccountId, request: CreditRequest
) -> Credited:
    """The account can spend it at once."""
    return Credited(**await wallet.add_credit(context, account_id, request.amount, request.note))


@router.get("/keys", response_model_exclude_none=True, summary="List keys")
async def list_keys(context: ContextOf, _: Admin) -> KeyList:
    """Without their secrets, which are not kept."""
    return KeyList(keys=[Key(**access.view(record)) for record in await access.list_keys(context)])


@router.post(
    "/keys",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(NotFound),
    summary="Create a key",
)
async def create_key(context: ContextOf, _: Admin, request: KeyRequest) -> NewKey:
    """The answer holds the secret, this once."""
    new = await access.create_key(
        context, request.role, name=request.name, account_id=request.account_id, miner_id=request.miner_id
    )
    return NewKey(**access.view(new.record), key=new.secret)


@router.delete(
    "/keys/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound),
    summary="Revoke a key",
)
async def revoke_key(context: ContextOf, _: Admin, key_id: fields.KeyId) -> None:
    """The key is useless from now on. A miner's session ends with a key of its owner; to keep it out, exclude it."""
    revoked = await access.revoke_key(context, key_id)
    if revoked.miner_id is not None:
        await exclusion.end_session_of_key(context, revoked.miner_id)


@router.post("/enrolments", status_code=status.HTTP_201_CREATED, summary="Make an enrolment token")
async def create_enrolment(context: ContextOf, _: Admin, request: EnrolmentRequest) -> Enrolment:
    """The answer holds the token, this once."""
    token, expires_at = await access.create_enrolment(
        context, uses=request.uses, valid_seconds=request.valid_seconds
    )
    return Enrolment(enrolment_token=token, uses=request.uses, expires_at=format_time(expires_at))


@router.post(
    "/logins", status_code=status.HTTP_201_CREATED, responses=errors(NotFound), summary="Make a login link"
)
async def create_login(context: ContextOf, _: Admin, request: LoginRequest | None = None) -> LoginLink:
    """Whoever opens it first, within minutes, has a dashboard with new keys (docs/how-to/dashboard.md)."""
    asked = request or LoginRequest()
    return LoginLink(
        **await logins.create_login(
            context, account_id=asked.account_id, miner_id=asked.miner_id, admin=asked.admin
        )
    )


@router.post("/miners/{miner_id}/exclude", responses=errors(NotFound), summary="Exclude a miner")
async def exclude_miner(
    context: ContextOf, _: Admin, miner_id: fields.MinerId, request: ExclusionRequest | None = None
) -> Exclusion:
    """Its session ends at once, its running jobs go to other miners, and it cannot register any more."""
    reason = request.reason if request is not None else ""
    return Exclusion(**await exclusion.exclude(context, miner_id, reason))


@router.post("/miners/{miner_id}/include", responses=errors(NotFound), summary="Let a miner take part again")
async def include_miner(context: ContextOf, _: Admin, miner_id: fields.MinerId) -> Inclusion:
    """It joins again when it asks the next time, within minutes."""
    return Inclusion(**await exclusion.include(context, miner_id))


@router.get("/overview", summary="Miners and queue")
async def overview(context: ContextOf, _: Admin) -> Overview:
    """All miners with what they offer and what they do not, and how many jobs are in each state."""
    return Overview(**await sessions.overview(context))
