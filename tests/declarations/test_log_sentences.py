"""Every routine entry of a miner's log has a sentence for people, whose fields the entry has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

from agent.cli.terminal import sentences
from agent.miner.machine.gpus import DRIVER_MISSING

AGENT = Path(sentences.__file__).parents[2]


def entries() -> Iterator[tuple[str, str, set[str] | None]]:
    """Yield method, event and fields of the calls that write to the log; None for fields that the call does not list."""
    for folder in ("miner", "updates", "cli"):
        for path in (AGENT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and _is_log(node.func.value)
                ):
                    fields = {keyword.arg for keyword in node.keywords}
                    # An event that begins with a word and ends with a variable is not in the table.
                    events = (
                        ast.walk(node.args[0])
                        if node.args and not isinstance(node.args[0], ast.JoinedStr)
                        else ()
                    )
                    for event in events:
                        if isinstance(event, ast.Constant):
                            yield (
                                node.func.attr,
                                event.value,
                                None if None in fields else {str(field) for field in fields},
                            )


def _is_log(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in {"log", "_log"}


def test_every_routine_entry_has_a_sentence() -> None:
    events = {event for method, event, _ in entries() if method == "info"}
    assert len(events) > 50
    assert sorted(events - set(sentences._SENTENCES) - sentences._DETAILS) == []


def test_the_sentences_use_fields_that_the_entries_have() -> None:
    for _, event, fields in entries():
        words = sentences._SENTENCES.get(event)
        if isinstance(words, str) and fields is not None:
            assert {name for _, name, _, _ in Formatter().parse(words) if name} <= fields, event


def test_the_reason_of_a_machine_without_a_card_is_known() -> None:
    assert DRIVER_MISSING.startswith(sentences.NO_DRIVER)
