"""`/v1/wallet`: balance, transactions, and those of a month as a file."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from agent.coordinator.features.accounts import statements, wallets
from agent.coordinator.routes._callers import AnyCaller, Before, ContextOf, Limit
from aitbc.answers.accounts import TransactionList, Wallet

router = APIRouter(prefix="/v1/wallet", tags=["Wallet"])


@router.get("", response_model_exclude_none=True, summary="Balance and escrow")
async def wallet(context: ContextOf, caller: AnyCaller) -> Wallet:
    """Returns a client's balance and the amount held for unfinished jobs, or to a miner's owner the miner's earnings."""
    return await wallets.wallet(context, caller)


@router.get("/transactions", response_model_exclude_none=True, summary="Credits and payments")
async def transactions(
    context: ContextOf,
    caller: AnyCaller,
    limit: Limit = 50,
    before: Before = None,
) -> TransactionList:
    """Your transactions, newest first."""
    return await wallets.transactions(context, caller, limit=limit, before_id=before)


_EXAMPLE: Final = (
    ",".join(statements.COLUMNS)
    + "\r\n2026-11-02T12:00:00Z,2026-11-02T12:04:00Z,tx_1234567890,payment,settled,0.04,0,0.10,0.06,job_1234567890,interview.mp3,,\r\n"
)


class _Csv(StreamingResponse):
    media_type = "text/csv"


@router.get(
    "/statement",
    operation_id="wallet_statement",
    response_class=_Csv,
    responses={
        200: {
            "description": "Comma-separated values with a heading",
            "content": {"text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
    summary="A month for bookkeeping",
)
async def statement(
    context: ContextOf,
    caller: AnyCaller,
    month: Annotated[
        str,
        Query(
            pattern=r"^2[0-9]{3}-(0[1-9]|1[0-2])$", description="Year and month, in UTC", examples=["2026-11"]
        ),
    ],
) -> _Csv:
    """Your transactions of a month, newest first, as a file for spreadsheets; for administrators those of all accounts."""
    name = f'attachment; filename="statement-{month}.csv"'
    return _Csv(statements.lines(context, caller, month), headers={"Content-Disposition": name})
