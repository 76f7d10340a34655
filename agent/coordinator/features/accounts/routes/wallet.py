"""`/v1/wallet`."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.features.accounts import wallets
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
