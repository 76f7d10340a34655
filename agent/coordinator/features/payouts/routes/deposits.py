"""`/v1/admin/deposits`: money that arrived outside, reported by the operator's service or an administrator."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, status
from pydantic import AfterValidator, Field
from starlette.types import Scope

from agent.coordinator.features.payouts import deposits
from agent.coordinator.features.payouts.deposits import Incoming
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.routes._callers import Admin, Before, ContextOf, Guard, Limit, RequestBody, caller_of
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, Forbidden, NotFound, Unauthorized
from agent.core.values.quantities import Money
from aitbc.answers import fields
from aitbc.answers.accounts import Role
from aitbc.answers.payouts import Deposit, DepositList

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/admin", tags=["Payouts"])

Rate = Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,18})?$", examples=["0.9137"])]


def _line(text: str) -> str:
    """Return the text. White space around it would make two payments of one."""
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable characters on one line, without white space around them")
    return text


async def _check(context: Context, scope: Scope) -> Caller | None:
    """Return the administrator, or None for a signed request, whose signature the route checks with the body."""
    if any(name == deposits.SIGNATURE.encode() for name, _ in scope["headers"]):
        return None
    return access.require(await caller_of(context, scope), Role.ADMIN)


AdminOrSigned = Annotated[
    Caller | None,
    Depends(
        Guard(
            _check,
            "an administrator's key, or a request that is signed with `payouts.http.deposit_secret`",
            (Unauthorized, Forbidden),
        )
    ),
]


class DepositRequest(RequestBody):
    """A payment received outside the coordinator. `source` and `external_id` identify it, so that it is credited once.

    Without a `currency`, `amount` is credited. With one, `amount` is in that currency, and `amount` divided by `rate` is credited,
    rounded down to 8 decimals. `rate` is what one unit of the ledger's money is worth in the currency.
    """

    external_id: Annotated[
        str, Field(min_length=1, max_length=200, examples=["tr_9f3b"]), AfterValidator(_line)
    ]
    account_id: fields.AccountId
    amount: Money = Field(examples=["100.00"])
    currency: Annotated[str, Field(pattern=r"^[A-Za-z0-9.]{1,12}$", examples=["EUR"])] | None = None
    rate: Rate = "1"
    source: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,31}$", examples=["http"])] = "http"
    note: Annotated[str, Field(max_length=200, examples=["invoice 17"])] = ""


@router.post(
    "/deposits",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(NotFound, Conflict),
    summary="Create a deposit",
)
async def deposit(
    context: ContextOf, caller: AdminOrSigned, http_request: Request, request: DepositRequest
) -> Deposit:
    """Credits a payment once: a repeated report of it credits nothing and returns the first answer.

    The operator's service signs like a webhook (Standard Webhooks): `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    """
    if caller is None:
        deposits.check_signature(context, http_request.headers, await http_request.body())
    incoming = Incoming(
        request.source,
        request.external_id,
        request.account_id,
        request.amount,
        request.currency or "",
        Decimal(request.rate),
        request.note,
    )
    return await deposits.deposit(context, incoming)


@router.get("/deposits", response_model_exclude_none=True, summary="List deposits")
async def list_deposits(
    context: ContextOf,
    _: Admin,
    account_id: Annotated[
        str | None, Query(max_length=64, description="Only deposits of this account")
    ] = None,
    limit: Limit = 50,
    before: Before = None,
) -> DepositList:
    """Returns all deposits, newest first."""
    return await deposits.page(context, account_id=account_id, limit=limit, before_id=before)
