"""`aitbc-agent models`: list, download, add and remove models."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from agent.catalogue import load_catalogue, load_owners_catalogue, owners_catalogue_file
from agent.cli.commands.machine import owners_models
from agent.cli.commands.machine.engines import as_text
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.cli.terminal.fetching import fetch_all
from agent.core.errors import AgentError
from agent.miner.control import ControlUnavailable, ask
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.store import ModelStore
from agent.miner.status.inventory import Inventory, ListedModel, loaded_models
from agent.settings import Settings
from aitbc.cli._terminal.output import moment, print_rows

app = typer.Typer(
    help="""Manage models.

Examples:
  aitbc-agent models list
  aitbc-agent models pull tiny.en
  aitbc-agent models remove tiny.en
""",
    no_args_is_help=True,
)


Name = Annotated[str, typer.Argument(help="The model's name, from `models list`.")]


@app.command("list")
def list_models(
    service: Annotated[str | None, typer.Option(help="Only the models of this service.")] = None,
    on_disk: Annotated[bool, typer.Option("--on-disk", help="Only models on this machine.")] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the models that jobs may use, and show which of them are on this machine."""
    settings = settings_from(data_dir, config)
    store, model_directory = _open(settings)
    models = [
        model
        for model in Inventory(settings, store, model_directory, _loaded(settings)).models()
        if service in (None, model.service) and (model.on_disk or not on_disk)
    ]
    if as_json:
        print_json([asdict(model) for model in models])
        return
    titles = ("MODEL", "ON DISK", "SIZE", "SERVICE", "VRAM", "LICENCE", "LAST USED", "WEIGHTS")
    print_rows(titles, [_row(model) for model in models])


def _row(model: ListedModel) -> tuple[str, ...]:
    return (
        model.name,
        _state(model),
        _size(model),
        model.service if model.kind == "model" else f"{model.service} ({model.kind})",
        as_text(model.vram),
        _licence(model),
        moment(model.last_used) if model.on_disk else "",
        model.digest or "",
    )


def _licence(model: ListedModel) -> str:
    notes = [
        name for name, applies in (("gated", model.gated), ("unverified", not model.verified)) if applies
    ]
    return model.licence.removeprefix("LicenseRef-") + (f" ({', '.join(notes)})" if notes else "")


@app.command("pull")
def pull(
    names: Annotated[list[str], typer.Argument(help="Names of models, from `models list`.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Download models. The next pull resumes an interrupted download."""
    settings = settings_from(data_dir, config)
    store, model_directory = _open(settings)
    fetched = fetch_all(settings, store, model_directory, names)
    if as_json:
        print_json(fetched)
        return
    for model in fetched:
        action = "was downloaded to" if model["fetched"] else "is already in"
        typer.echo(f"{model['name']} {action} {model['path']} ({as_text(model['size'])}).")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name for jobs to use.")],
    service: Annotated[str, typer.Option(help="The model's service, e.g. llm_inference.")],
    repository: Annotated[str | None, typer.Option(help="Hugging Face repository, e.g. owner/name.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag of the repository.")] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(help="Files of the repository to download, e.g. '*.gguf'; may be repeated."),
    ] = None,
    path: Annotated[
        str | None, typer.Option(help="Directory of this machine that contains the model.")
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option(help="URL of a file; may be repeated, each with --sha256.")
    ] = None,
    sha256: Annotated[list[str] | None, typer.Option(help="Hex SHA-256 of the file at --url.")] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="File name for --url; by default the one in the URL.")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Engine that runs it; by default those of the service.")
    ] = None,
    vram: Annotated[str, typer.Option(help="GPU memory that the model needs, e.g. 6Gi.")] = "0",
    memory: Annotated[str, typer.Option(help="Memory that the model needs without a GPU.")] = "0",
    licence: Annotated[str, typer.Option(help="SPDX identifier of its licence.")] = "unknown",
    description: Annotated[str, typer.Option(help="One-line description.")] = "",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The model is an adapter for another model (LoRA).")
    ] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="Setting for its runner, NAME=JSON; may be repeated.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a model of your own to DATA_DIR/models.toml. It replaces a shipped one of the same name."""
    settings = settings_from(data_dir, config)
    entry: dict[str, Any] = {
        "name": name,
        "service": service,
        "engines": engine or [],
        "repository": repository,
        "revision": revision,
        "patterns": pattern or None,
        "path": path,
        "files": owners_models.files(url or [], sha256 or [], file or []) or None,
        "vram": vram,
        "memory": memory,
        "licence": licence,
        "description": description,
        "kind": "adapter" if adapter else "model",
        "options": owners_models.options(option or []) or None,
    }
    written = owners_models.add(
        settings.data_dir, {key: value for key, value in entry.items() if value is not None}
    )
    if as_json:
        print_json(written)
    else:
        typer.echo(
            f"{name} was added to {owners_catalogue_file(settings.data_dir)}. Restart a running agent to use it."
        )


@app.command("remove")
def remove(name: Name, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Delete a model from the disk, even if another program put it there. It stays in the catalogue."""
    settings = settings_from(data_dir, config)
    store, model_directory = _open(settings)
    entry = store.catalogue.get(name)
    if entry is None:
        raise AgentError(f"There is no model {name!r}. `aitbc-agent models list` shows all models.")
    # Another program may use it, and the agent has not put it there.
    if entry.path is not None:
        raise AgentError(
            f"{name} is in {entry.path}, which the agent does not manage. Delete that directory yourself, and remove the entry "
            f"from {owners_catalogue_file(settings.data_dir)}."
        )
    if not store.has(name) and not model_directory.partial(name).exists():
        raise AgentError(f"{name} is not on this machine.")
    stored = [
        stored_model
        for stored_model in model_directory.stored()
        if stored_model.name in (name, model_directory.partial(name).name)
    ]
    if name in _loaded(settings) or not all(
        model_directory.remove(stored_model.name) for stored_model in stored
    ):
        raise AgentError(f"{name} is in use. Wait until it is idle, or stop the agent.")
    freed = sum(stored_model.size for stored_model in stored)
    if as_json:
        print_json({"name": name, "removed": True, "freed": freed})
        return
    typer.echo(f"{name} was removed ({as_text(freed)}).")
    if name in load_owners_catalogue(settings.data_dir):
        typer.echo(f"Its entry stays in {owners_catalogue_file(settings.data_dir)}.")


def _open(settings: Settings) -> tuple[ModelStore, ModelDirectory]:
    return ModelStore(settings.models_dir, load_catalogue(settings.data_dir)), ModelDirectory(
        settings.models_dir
    )


def _loaded(settings: Settings) -> set[str]:
    """Return the models in the memory of this data directory's agent; none if it is not running."""
    try:
        return loaded_models(asyncio.run(ask(settings.data_dir, "status"))["children"])
    except ControlUnavailable:
        return set()


def _state(model: ListedModel) -> str:
    if model.on_disk:
        return "in use" if model.in_use else "loaded" if model.loaded else "yes"
    if model.arrived:
        return "downloading" if model.in_use else "partial"
    return "no" if model.fetchable else "no (no source)"


def _size(model: ListedModel) -> str:
    if model.size is not None:
        return as_text(model.size)
    return as_text(model.size_to_fetch) if model.size_to_fetch is not None else "?"
