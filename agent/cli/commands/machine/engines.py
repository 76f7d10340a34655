"""`aitbc-agent engines`: list, install, check, roll back and remove engines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, print_result, settings_from
from agent.cli.terminal import logs
from agent.cli.terminal.fetching import INTERRUPTED, shown
from agent.core.errors import AgentError
from agent.miner.engines.cards import Choice, Wanted, choose
from agent.miner.engines.catalogue import InstallableEngine, find_engine, load_engines
from agent.miner.engines.environments import EngineDirectory, EngineEnvironment, engines_directory
from agent.miner.engines.installer import Installer
from agent.miner.engines.interpreters import has_engine
from agent.miner.machine.drm import read_cards
from agent.miner.machine.gpus import Gpu, Gpus
from agent.miner.settings import EnginesSettings
from agent.miner.traffic import owners_traffic
from agent.sections import section_of
from agent.settings import Settings
from aitbc.cli._terminal.output import print_rows
from runners.registry import installed

app = typer.Typer(
    help="""Manage engines in environments of their own.

Examples:
  aitbc-agent engines list
  aitbc-agent engines install llama.cpp
  aitbc-agent engines rollback llama.cpp
""",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The engine's name, from `engines list`.")]

_OWN: Final = "with the agent"


@dataclass(frozen=True, slots=True)
class ListedEngine:
    """An engine as the list shows it. `size` is in bytes: of the environment, or of what an installation would take."""

    name: str
    state: str
    variant: str
    size: int
    services: tuple[str, ...]
    description: str
    licence: str
    packages: tuple[str, ...]
    python: str | None
    path: str | None
    previous: bool


@app.command("list")
def list_engines(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the engines, and show which of them are on this machine."""
    settings = _settings(data_dir, config)
    cards = _cards()
    engines = [_listed(settings, engine, cards) for engine in load_engines(settings.data_dir).values()]
    if as_json:
        print_json([asdict(engine) for engine in engines])
        return
    rows = [
        (
            engine.name,
            engine.state,
            as_text(engine.size),
            engine.licence,
            ", ".join(engine.services),
            engine.description,
        )
        for engine in engines
    ]
    print_rows(("ENGINE", "STATE", "SIZE", "LICENCE", "SERVICES", "DESCRIPTION"), rows)


@app.command("install")
def install(
    names: Annotated[list[str], typer.Argument(help="Names of engines, from `engines list`.")],
    variant: Annotated[
        Literal["cpu", "cuda", "vulkan"] | None,
        typer.Option(
            help="Install the packages for the processor or for cards, even if others suit this machine better."
        ),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Install engines, or upgrade them. The next install continues an interrupted one."""
    settings = _settings(data_dir, config)
    engines = load_engines(settings.data_dir)
    chosen = [find_engine(engines, name) for name in names]
    cards = _cards()
    choices = [_chosen(settings, engine, cards, variant) for engine in chosen]
    traffic = owners_traffic(settings)
    asyncio.run(traffic.poll())
    if traffic.hindrance is not None:
        raise AgentError(traffic.hindrance)
    results = []
    for engine, choice in zip(chosen, choices, strict=True):
        if choice.obstacle is not None:
            typer.echo(choice.obstacle, err=True)
        try:
            with shown(engine.name) as on_progress:
                installation = _installer(settings, engine.name, cards).install(
                    engine, choice.variant, on_progress, forced=choice.forced
                )
        except KeyboardInterrupt:
            typer.echo(f"\nStopped. Run `aitbc-agent engines install {engine.name}` to continue.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        record = installation.environment.record
        results.append(
            {**asdict(record), "path": str(installation.environment.path), "changed": installation.changed}
        )
        if not as_json:
            action = "was installed in" if installation.changed else "is already in"
            typer.echo(
                f"{engine.name} ({record.variant}) {action} {installation.environment.path} ({as_text(record.size)})."
            )
    if as_json:
        print_json(results)
    elif any(result["changed"] for result in results):
        typer.echo("A running agent uses it after its current jobs.")


@app.command("check")
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of engines; by default all installed ones.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Test the installed engines. Exit code 1: one does not work."""
    settings = _settings(data_dir, config)
    engines = load_engines(settings.data_dir)
    chosen = [find_engine(engines, name) for name in names] if names else list(engines.values())
    cards = _cards()
    results = []
    for engine in chosen:
        environment = EngineDirectory(engines_directory(settings), engine.name).current
        if environment is None and not names:
            continue
        fault = _fault(settings, engine, environment, cards)
        results.append({"name": engine.name, "works": fault is None, "fault": fault})
        if not as_json:
            typer.echo(f"{engine.name}: {fault or 'works'}")
    if as_json:
        print_json(results)
    elif not results:
        typer.echo("No engine is installed. `aitbc-agent engines list` shows which there are.")
    if any(result["fault"] for result in results):
        raise typer.Exit(1)


@app.command("rollback")
def rollback(
    name: Name, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Return to the version before the last upgrade. A second call undoes this."""
    settings = _settings(data_dir, config)
    engine = find_engine(load_engines(settings.data_dir), name)
    environment = _installer(settings, name).roll_back(engine)
    result = {**asdict(environment.record), "path": str(environment.path)}
    words = (
        f"{name} is now the version in {environment.path}. A running agent uses it after its current jobs."
    )
    print_result(result, words, as_json=as_json)


@app.command("remove")
def remove(name: Name, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Delete an engine from this machine, with its earlier version and interrupted installations."""
    settings = _settings(data_dir, config)
    find_engine(load_engines(settings.data_dir), name)
    directory = EngineDirectory(engines_directory(settings), name)
    if directory.current is None and not directory.has_leftovers:
        raise AgentError(f"{name} is not installed.")
    freed = _installer(settings, name).remove(name)
    remains = directory.has_leftovers
    if as_json:
        print_json({"name": name, "removed": True, "freed": freed, "in_use": remains})
        return
    typer.echo(f"{name} was removed ({as_text(freed)}).")
    if remains:
        typer.echo(
            "Jobs still use some of its files. To delete these too, run the same command again when the jobs have ended."
        )


def _chosen(
    settings: Settings, engine: InstallableEngine, cards: Sequence[Gpu], variant: Wanted | None
) -> Choice:
    """Return the variant to install. Raises `AgentError` if the engine would not work."""
    wanted = variant or section_of(settings, EnginesSettings).variant
    choice = choose(engine, cards, wanted, vulkan=bool(read_cards()))
    if choice.refused:
        raise AgentError(f"{engine.name} was not installed. {choice.obstacle}")
    return choice


def _fault(
    settings: Settings,
    engine: InstallableEngine,
    environment: EngineEnvironment | None,
    cards: Sequence[Gpu],
) -> str | None:
    """Return why an engine does not work, None if it does."""
    if environment is None:
        return f"It is not installed: aitbc-agent engines install {engine.name}"
    try:
        _installer(settings, engine.name, cards).check(engine, environment)
    except AgentError as error:
        return str(error)
    return None


def as_text(size: int) -> str:
    """Return a size for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"


def _settings(data_dir: Path | None, config: Path | None) -> Settings:
    settings = settings_from(data_dir, config)
    logs.configure_quietly(settings.log)
    return settings


def _installer(settings: Settings, name: str, cards: Sequence[Gpu] = ()) -> Installer:
    waiting = False

    def while_waiting() -> None:
        nonlocal waiting
        if not waiting:
            typer.echo(
                f"Another program is installing or removing {name}. Waiting for it to finish ...", err=True
            )
        waiting = True

    return Installer(
        engines_directory(settings),
        installed(),
        cache_dir=settings.cache_dir,
        check_seconds=section_of(settings, EnginesSettings).check_seconds,
        cards=cards,
        while_waiting=while_waiting,
    )


def _cards() -> tuple[Gpu, ...]:
    gpus = Gpus()
    try:
        return asyncio.run(gpus.refresh())
    finally:
        gpus.close()


def _listed(settings: Settings, engine: InstallableEngine, cards: Sequence[Gpu]) -> ListedEngine:
    directory = EngineDirectory(engines_directory(settings), engine.name)
    current = directory.current
    record = None if current is None else current.record
    wanted = section_of(settings, EnginesSettings).variant
    # What the owner has installed against advice is up to date if it is what would be installed again.
    forced = record is not None and record.forced and record.variant == "cuda"
    variant = choose(engine, cards, "cuda" if forced else wanted, vulkan=bool(read_cards())).variant
    return ListedEngine(
        name=engine.name,
        state=_state(directory, engine, variant.digest()),
        variant=variant.name if record is None else record.variant,
        size=variant.size if record is None else record.size,
        services=engine.services,
        description=engine.description,
        licence=engine.licence,
        packages=variant.packages if record is None else record.packages,
        python=None if record is None else record.python,
        path=None if current is None else str(current.path),
        previous=directory.previous is not None,
    )


def _state(directory: EngineDirectory, engine: InstallableEngine, digest: str) -> str:
    current = directory.current
    if directory.busy:
        return "being changed"
    if current is not None:
        if not current.usable:
            return "without Python"
        return "installed" if current.record.digest == digest else "another version"
    if directory.has_leftovers:
        return "partial"
    return _OWN if has_engine(engine) else "no"
