"""The help of every command: examples that work, and words instead of types."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from aitbc.cli import app

TYPE = re.compile(r"<(bool|str|int|float|list)\b|\[x[<>]|<=x")


def _leaves(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    names = getattr(group, "listed", None)
    commands = {name: group.load(name) for name in names} if names else group.commands
    for name, command in commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command, (*path, name))
        else:
            yield (*path, name), command


PROGRAM: Any = typer.main.get_group(app)
COMMANDS = dict(_leaves(PROGRAM, ("aitbc",)))


def _examples(command: Any) -> list[str]:
    _, _, examples = (command.help or "").partition("\nExamples:\n")
    return [line.strip() for line in examples.splitlines() if line.strip()]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_has_examples_that_it_understands(path: tuple[str, ...], tmp_path, monkeypatch) -> None:
    """Every word of them is an argument or option that exists, and none is missing."""
    monkeypatch.chdir(tmp_path)
    for name in ("model.py", "model.zip"):  # arguments that must exist
        (tmp_path / name).touch()
    examples = _examples(COMMANDS[path])
    assert 2 <= len(examples) <= 3
    for example in examples:
        assert len(example) <= 76, "It would be broken on a terminal of 80 columns."
        # A command may stand in another one, whose argument is its output.
        inner = re.search(r"\$\((.*?)\)", example)
        words = shlex.split(inner[1] if inner else example.rpartition("| ")[2])
        for word in (*path[:1], "--api-key" if "--api-key" in words else None):
            if word is not None:
                words.remove(word)
        words = [word for word in words if word != "KEY"]
        assert tuple(words[: len(path) - 1]) == path[1:], example
        COMMANDS[path].make_context(" ".join(path), words[len(path) - 1 :], parent=None)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_names_no_types(quick, path: tuple[str, ...]) -> None:
    shown = quick(*path[1:], "--help").stdout
    assert "--help" in shown
    assert not TYPE.search(shown)


def test_help_shows_limits_and_defaults(quick) -> None:
    shown = " ".join(quick("transcode", "--help", COLUMNS="160").stdout.split())
    assert "0..9" in shown
    assert "1..64" in shown
    assert "[default: 4]" in shown
    assert "in credits. Default: the coordinator's, usually 1." in shown


def test_the_program_names_its_first_steps(quick) -> None:
    shown = quick("--help").stdout
    assert "aitbc receipts verify receipt.json" in shown
    assert not TYPE.search(shown)
