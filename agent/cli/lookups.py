"""Ids that the commands' arguments name: complete, by their unique beginning or end, by a name, or `last`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent.cli.local_api import PAGE
from aitbc import AITBCClient
from aitbc.answers.accounts import Account, AccountList, Enrolment, EnrolmentList
from aitbc.answers.payouts import Deposit, DepositList
from aitbc.cli._arguments.lookup import NamedCandidate, find

PageT = TypeVar("PageT", AccountList, EnrolmentList, DepositList)


def accounts(client: AITBCClient) -> list[Account]:
    """Return all accounts, oldest first."""
    pages = _pages(lambda last_id: client.admin.accounts(limit=PAGE, after=last_id))
    return [account for page in pages for account in page.accounts]


def find_account(client: AITBCClient, named: str) -> str:
    """Return the id of an account. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[NamedCandidate]:
        return _newest_first(
            [(account.account_id, account.name, account.created_at) for account in accounts(client)]
        )

    return find("account", named, candidates, "aitbc-agent accounts list")


def deposits(client: AITBCClient, account_id: str | None) -> list[Deposit]:
    """Return all deposits, of one account if one is given, newest first."""
    pages = _pages(lambda last_id: client.payouts.deposits(account_id=account_id, limit=PAGE, before=last_id))
    return [deposit for page in pages for deposit in page.deposits]


def enrolments(client: AITBCClient) -> list[Enrolment]:
    """Return all enrolment tokens, newest first."""
    pages = _pages(lambda last_id: client.admin.enrolments(limit=PAGE, before=last_id))
    return [enrolment for page in pages for enrolment in page.enrolments]


def find_enrolment(client: AITBCClient, named: str) -> str:
    """Return the id of an enrolment token; its name is its note. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[NamedCandidate]:
        return [
            NamedCandidate(enrolment.enrolment_id, enrolment.note, enrolment.status)
            for enrolment in enrolments(client)
        ]

    return find("enrolment", named, candidates, "aitbc-agent enroll list")


def find_key(client: AITBCClient, named: str) -> str:
    """Return the id of a key. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[NamedCandidate]:
        keys = client.admin.keys()
        return _newest_first([(key.key_id, key.name, key.created_at) for key in keys])

    return find("key", named, candidates, "aitbc-agent keys list")


def find_miner(client: AITBCClient, named: str) -> str:
    """Return the id of a miner; `last` is the one that was seen last. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[NamedCandidate]:
        miners = client.admin.overview().miners
        return [NamedCandidate(miner.miner_id, miner.name, f"last seen {miner.seen_at}") for miner in miners]

    return find("miner", named, candidates, "aitbc-agent miners list")


def _pages(fetch: Callable[[str | None], PageT]) -> list[PageT]:
    pages = [fetch(None)]
    while pages[-1].next is not None:
        pages.append(fetch(pages[-1].next))
    return pages


def _newest_first(rows: list[tuple[str, str, str]]) -> list[NamedCandidate]:
    ordered = sorted(rows, key=lambda row: row[2], reverse=True)
    return [NamedCandidate(item_id, name, f"created {created}") for item_id, name, created in ordered]
