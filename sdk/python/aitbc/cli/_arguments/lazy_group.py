"""A program's commands, each of which is imported only when it runs: importing all takes several times as long as most commands do."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from aitbc.cli._arguments.plain_help import plain, with_plain_types
from aitbc.cli._controls import harmless


@dataclass(frozen=True, slots=True)
class ListedCommand:
    """A command as the program's help lists it. Its module has a function, or the `typer.Typer` of a group, with the name `attribute`.

    `help` is the beginning of the command's own help. A `Command` that the module defines is the class of its command.
    """

    module: str
    attribute: str
    help: str
    panel: str | None = None


def commands_in(package: str, panels: Mapping[str, Mapping[str, str]]) -> dict[str, ListedCommand]:
    """Return the commands of a package by name. `panels` have their helps by `MODULE:FUNCTION`; a group, `MODULE:app`, has the name of its module."""
    commands = {}
    for panel, helps in panels.items():
        for reference, text in helps.items():
            module, _, attribute = reference.partition(":")
            name = module.rpartition(".")[2] if attribute == "app" else attribute
            commands[name.replace("_", "-")] = ListedCommand(f"{package}.{module}", attribute, text, panel)
    return commands


class LazyGroup(TyperGroup):
    """Finds commands in `listed`. Uses no types of the library's base, since they differ between versions."""

    listed: ClassVar[Mapping[str, ListedCommand]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is the library's
        """Return all names, in the order of the help."""
        return list(self.listed)

    def get_params(self, ctx: Any) -> Any:
        """Return the program's options, as its help names them."""
        return [plain(parameter) for parameter in super().get_params(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as above
        """Return what the help and the shell's completion show of the command with this name, or None."""
        entry = self.listed.get(cmd_name)
        return (
            None
            if entry is None
            else _command(cmd_name, _shown, help=entry.help, rich_help_panel=entry.panel)
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name, imported. See `TyperGroup.resolve_command`."""
        self.commands = dict.fromkeys(self.listed)  # type: ignore[assignment] # for suggestions, which need only names
        name, command, remaining = super().resolve_command(ctx, args)
        return name, None if name is None else self.load(name), remaining if command else args

    def invoke(self, ctx: Any) -> Any:
        """Run the command. What is wrong with its arguments is printed by the library, with names from outside in it."""
        try:
            return super().invoke(ctx)
        # The argument may come from a file's name or another program's output, with sequences that control the terminal.
        except typer.BadParameter as error:
            error.message = harmless(error.message)
            raise

    def load(self, name: str) -> Any:
        """Import the command with this name."""
        entry = self.listed[name]
        gc.disable()  # imports create few cycles of garbage, but looking for them takes a sixth of their time
        try:
            module = import_module(entry.module)
        finally:
            gc.enable()
        loaded = getattr(module, entry.attribute)
        if isinstance(loaded, typer.Typer):
            group: Any = typer.main.get_group(loaded)
            group.name = name
            return with_plain_types(group)
        own_class = getattr(module, "Command", None)
        is_defined_there = getattr(own_class, "__module__", None) == entry.module
        return _command(name, loaded, cls=own_class if is_defined_there else None)


def _shown() -> None:
    """Stand for a command that is not imported."""


def _command(name: str, function: Any, **options: Any) -> Any:
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name, **options)(function)
    return with_plain_types(typer.main.get_command(single))
