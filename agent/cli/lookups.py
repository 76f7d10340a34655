"""Ids that the commands' arguments name: complete, by their unique beginning or end, by a name, or `last`."""

from __future__ import annotations

from typing import Any

from agent.cli import local_api
from agent.settings import Settings
from aitbc.cli._arguments.lookup import Candidate, find


def accounts(settings: Settings) -> list[dict[str, Any]]:
    """Return all accounts, oldest first."""
    page = local_api.call(settings, "GET", "admin/accounts?limit=500")
    all_accounts: list[dict[str, Any]] = page["accounts"]
    while "next" in page:
        page = local_api.call(settings, "GET", f"admin/accounts?limit=500&after={page['next']}")
        all_accounts += page["accounts"]
    return all_accounts


def find_account(settings: Settings, named: str) -> str:
    """Return the id of an account. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[Candidate]:
        return _newest_first(
            [
                (account["account_id"], account["name"], account["created_at"])
                for account in accounts(settings)
            ]
        )

    return find("account", named, candidates, "aitbc-agent accounts list")


def deposits(settings: Settings, account_id: str | None) -> list[dict[str, Any]]:
    """Return all deposits, of one account if one is given, newest first."""
    path = "admin/deposits?limit=500" + ("" if account_id is None else f"&account_id={account_id}")
    page = local_api.call(settings, "GET", path)
    all_deposits: list[dict[str, Any]] = page["deposits"]
    while "next" in page:
        page = local_api.call(settings, "GET", f"{path}&before={page['next']}")
        all_deposits += page["deposits"]
    return all_deposits


def enrolments(settings: Settings) -> list[dict[str, Any]]:
    """Return all enrolment tokens, newest first."""
    page = local_api.call(settings, "GET", "admin/enrolments?limit=500")
    all_enrolments: list[dict[str, Any]] = page["enrolments"]
    while page["next"] is not None:
        page = local_api.call(settings, "GET", f"admin/enrolments?limit=500&before={page['next']}")
        all_enrolments += page["enrolments"]
    return all_enrolments


def find_enrolment(settings: Settings, named: str) -> str:
    """Return the id of an enrolment token; its name is its note. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[Candidate]:
        return [
            Candidate(enrolment["enrolment_id"], enrolment["note"], enrolment["status"])
            for enrolment in enrolments(settings)
        ]

    return find("enrolment", named, candidates, "aitbc-agent enroll list")


def find_key(settings: Settings, named: str) -> str:
    """Return the id of a key. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[Candidate]:
        keys = local_api.call(settings, "GET", "admin/keys")["keys"]
        return _newest_first([(key["key_id"], key["name"], key["created_at"]) for key in keys])

    return find("key", named, candidates, "aitbc-agent keys list")


def find_miner(settings: Settings, named: str) -> str:
    """Return the id of a miner; `last` is the one that was seen last. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[Candidate]:
        miners = local_api.call(settings, "GET", "admin/overview")["miners"]
        return [
            Candidate(miner["miner_id"], miner["name"], f"last seen {miner['seen_at']}") for miner in miners
        ]

    return find("miner", named, candidates, "aitbc-agent miners list")


def _newest_first(rows: list[tuple[str, str, str]]) -> list[Candidate]:
    ordered = sorted(rows, key=lambda row: row[2], reverse=True)
    return [Candidate(found_id, name, f"created {created}") for found_id, name, created in ordered]
