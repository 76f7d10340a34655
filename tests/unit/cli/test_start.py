"""What the commands import before they do anything, which is most of the time that a short command takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

import aitbc.cli
from agent.cli import application
from aitbc.cli._arguments.lazy_group import LazyGroup

LISTED = [
    pytest.param(group, name, id=f"{program} {name}")
    for program, group in (("aitbc", aitbc.cli.ProgramCommands), ("aitbc-agent", application.AgentCommands))
    for name in group.listed
]
SERVERS = {"alembic", "fastapi", "sqlalchemy", "starlette", "uvicorn"}
ENGINES = {
    "ctranslate2",
    "diffusers",
    "faster_whisper",
    "onnx_asr",
    "onnxruntime",
    "numpy",
    "torch",
    "transformers",
    "whisper",
    "xllamacpp",
}
CLIENTS = {"aitbc._client", "aitbc.answers.record", "httpx", "pydantic", "websockets"}
IMPORTED = """
import atexit, json, sys
@atexit.register
def imported():
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
sys.argv = json.loads(sys.argv[1])
"""
AITBC = "from aitbc.cli import main; main()"
AGENT = "from agent.cli import main; main()"
CHILD = "import runners.host.process"


@pytest.mark.parametrize(("group", "name"), LISTED)
def test_the_help_lists_the_beginning_of_each_commands_own_help(group: type[LazyGroup], name: str) -> None:
    command = group().load(name)
    assert command.name == name
    first, _, _ = command.help.partition("\n\n")
    assert group.listed[name].help == " ".join(first.split())


@pytest.mark.parametrize(
    ("program", "words", "without"),
    [
        (AITBC, ["--version"], SERVERS | ENGINES | CLIENTS),
        (AITBC, ["--help"], SERVERS | ENGINES | CLIENTS),
        (AITBC, ["transcribe", "--help"], SERVERS | ENGINES),
        (AITBC, ["jobs", "list", "--help"], SERVERS | ENGINES),
        (AGENT, ["--version"], SERVERS | ENGINES | CLIENTS),
        (AGENT, ["--help"], SERVERS | ENGINES | CLIENTS),
        (AGENT, ["health", "--help"], SERVERS | ENGINES),
        (AGENT, ["status", "--help"], SERVERS | ENGINES),
        (AGENT, ["start", "--help"], SERVERS | ENGINES | CLIENTS - {"pydantic"}),
        (CHILD, [], SERVERS | ENGINES | CLIENTS - {"pydantic"}),
    ],
)
def test_a_command_does_not_import_what_it_does_not_need(
    program: str, words: list[str], without: set[str]
) -> None:
    command = [sys.executable, "-c", IMPORTED + program, json.dumps(["program", *words])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    imported = set(json.loads(done.stderr))
    assert {"json", "typing"} <= imported, "the list is complete"
    assert not without & imported


def test_a_mistyped_command_is_answered_with_a_suggestion() -> None:
    group = typer.main.get_group(aitbc.cli.app)
    with pytest.raises(Exception, match="Did you mean 'transcribe'"):
        group.resolve_command(group.make_context("aitbc", ["jobs"]), ["transcibe"])


def test_the_help_of_each_command_has_an_example_of_it() -> None:
    """Those of rare commands with many conditions are in the guides."""
    group = application.AgentCommands()
    for name in group.listed:
        if name != "migrate":
            assert f"aitbc-agent {name}" in group.load(name).help.partition("Examples:")[2], name


def test_each_command_is_in_a_group_of_the_help() -> None:
    panels = [entry.panel for entry in application.AgentCommands.listed.values()]
    assert list(dict.fromkeys(panels)) == [
        "Run the agent", "Look at it", "Control it", "Measure and test the machine", "Operate a coordinator"
    ]  # fmt: skip
