"""Commits wake those who wait for what they contain. On both databases."""

from __future__ import annotations

from pathlib import Path

from agent.coordinator.operations.context import Context
from agent.coordinator.store import events
from agent.coordinator.store.database import Connection, Content, contains
from support.server import serve


def _fails(connection: Connection) -> None:
    events.mark(connection, 0.0)
    raise ValueError("undone")


async def _woken(context: Context) -> list[list[str]]:
    """Return who was woken by each of several writes when it was answered."""
    woken: list[str] = []
    for content in Content:
        context.database.after_commit(content, lambda content=content: woken.append(content))
    found = []
    for function, arguments in (
        (events.newest, ()),
        (events.mark, (0.0,)),
        (contains, (Content.MESSAGES,)),
        (_fails, ()),
        (events.newest, ()),
    ):
        woken.clear()
        try:
            await context.database.write(function, *arguments)
        except ValueError:
            continue  # whether it wakes anybody does not matter
        found.append(sorted(set(woken)))
    return found


def test_a_commit_wakes_only_those_who_wait_for_its_content(tmp_path: Path) -> None:
    """Heartbeats of idle miners, which contain nothing, then cost no queries of streams and webhooks."""
    with serve(tmp_path / "data") as served:
        assert served.do(_woken) == [[], ["changes"], ["messages"], []]
