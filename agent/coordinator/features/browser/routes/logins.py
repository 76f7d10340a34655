"""`/v1/login`, `/v1/logins` and `/v1/admin/logins`: login links."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, status
from pydantic import Field

from agent.coordinator.features.browser import logins
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Admin, ContextOf, Owner, RequestBody
from agent.coordinator.routes._declare import errors
from agent.core.errors import MinerExcluded, NotFound, Unauthorized
from aitbc.answers.accounts import LoginKey, LoginKeyList, NewLogin, Role

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1")


class LoginTokenRequest(RequestBody):
    """The token of a login link."""

    token: Annotated[str, Field(min_length=1, max_length=200, examples=["login_secret"])]


class SignedLoginRequest(RequestBody):
    """Proof that the caller has a miner's key: its signature over a nonce and the key of this coordinator's log."""

    nonce: Annotated[str, Field(max_length=200, examples=["kq9Jq1c0Yb7mZ2vW4tXs8RfLpN3aHdGe"])]
    public_key: Annotated[str, Field(max_length=200, examples=["base64_public_key"])]
    signature: Annotated[str, Field(max_length=200, examples=["base64_signature"])]


class LoginRequest(RequestBody):
    """The keys that a login link yields: a client's key of the account, an owner's key of the miner, an administrator's key.

    Without any field, the link yields an administrator's key.
    """

    account_id: str | None = None
    miner_id: str | None = None
    admin: bool = False


@router.post(
    "/login",
    operation_id="keys_login",
    tags=["Keys and logins"],
    responses=errors(Unauthorized),
    summary="Use a login link",
)
async def login(context: ContextOf, request: LoginTokenRequest) -> LoginKeyList:
    """A login link's token can be used once, within minutes. The answer contains new keys, which cannot be retrieved later."""
    return LoginKeyList(
        keys=[
            LoginKey(role=Role(created.record.role), key=created.secret, key_id=created.record.key_id)
            for created in await logins.login(context, request.token)
        ]
    )


@router.post(
    "/logins",
    status_code=status.HTTP_201_CREATED,
    operation_id="keys_create_login",
    tags=["Keys and logins"],
    summary="Create a login link to your machine",
)
async def create_own_login(context: ContextOf, owner: Owner) -> NewLogin:
    """The link opens the dashboard once, within minutes, with a new key of the caller's miner: `aitbc-agent login` on the machine."""
    return await logins.create_login(context, miner_id=owner.miner_id)


@router.post(
    "/logins/signed",
    status_code=status.HTTP_201_CREATED,
    tags=["Keys and logins"],
    responses=errors(Unauthorized, MinerExcluded, NotFound),
    summary="Create a login link with the miner's key",
)
async def create_signed_login(context: ContextOf, proof: SignedLoginRequest) -> NewLogin:
    """For the owner of a machine, without an API key: a signature of the miner's key over a nonce of `POST /v1/miners/challenge`, which is used up.

    The signed bytes are a DSSE pre-authentication encoding of the type `application/vnd.aitbc.login+json` and the canonical JSON of `log_key`, `nonce` and
    `public_key`. The link opens the dashboard once, within minutes, with a new key of that miner.
    """
    return await logins.create_signed_login(context, proof.nonce, proof.public_key, proof.signature)


@router.post(
    "/admin/logins",
    status_code=status.HTTP_201_CREATED,
    operation_id="admin_create_login",
    tags=["Administration"],
    responses=errors(NotFound),
    summary="Create a login link",
)
async def create_login(context: ContextOf, _: Admin, request: LoginRequest | None = None) -> NewLogin:
    """The link can be used once, within minutes. It opens the dashboard with new keys (docs/how-to/dashboard.md)."""
    chosen = request or LoginRequest()
    return await logins.create_login(
        context, account_id=chosen.account_id, miner_id=chosen.miner_id, admin=chosen.admin
    )
