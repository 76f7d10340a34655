"""`aitbc-agent models`: list, download, add and remove models."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from agent.catalogue import load_catalogue, load_owners_catalogue, owners_catalogue_file
from agent.cli.commands.machine import hub_models, local_models, owners_models
from agent.cli.commands.machine.engines import as_text
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.cli.terminal.fetching import fetch_all
from agent.cli.terminal.model_choice import in_one_line
from agent.core.errors import AgentError
from agent.hub_names import parse_reference
from agent.miner.control import CallRefused, ControlUnavailable, ask
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.recognition import TEXT
from agent.miner.models.store import ModelStore
from agent.miner.status.inventory import Inventory, ListedModel, loaded_models
from agent.settings import Settings
from aitbc.cli._terminal.output import moment, print_rows

app = typer.Typer(
    help="""Manage models.

Examples:
  aitbc-agent models list
  aitbc-agent models pull tiny.en
  aitbc-agent models pull hf.co/OWNER/REPOSITORY:Q4_K_M
  aitbc-agent models add ~/Downloads/model.gguf
  aitbc-agent models remove tiny.en
""",
    no_args_is_help=True,
)


_UNLOAD_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.3

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
    status = _status(settings)
    loaded = loaded_models(status.get("children", ()))
    models = [
        model
        for model in Inventory(settings, store, model_directory, loaded).models()
        if service in (None, model.service) and (model.on_disk or not on_disk)
    ]
    if as_json:
        print_json([asdict(model) for model in models])
        return
    titles = ("MODEL", "ON DISK", "SIZE", "SERVICE", "VRAM", "LICENCE", "LAST USED", "WEIGHTS")
    print_rows(titles, [_row(model) for model in models])
    if (choice := status.get("model_choice")) is not None:
        # Not among the rows, which programs read.
        typer.echo(in_one_line(choice), err=True)


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
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names from `models list`, or models of the Hugging Face Hub: hf.co/OWNER/REPOSITORY[:FORM]."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name for jobs to use; by default the repository's, with the form of the weights."),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Download models. The next pull resumes an interrupted download."""
    settings = settings_from(data_dir, config)
    store, model_directory = _open(settings)
    if name is not None and len(names) > 1:
        raise AgentError("--name is for one model; pull the others by a command of their own.")
    fetched = []
    for text in names:
        reference = None if text in store.catalogue else parse_reference(text)
        if reference is None:
            fetched += fetch_all(settings, store, model_directory, [text])
        else:
            fetched.append(hub_models.pull(settings, store, model_directory, reference, name))
    _notify(settings)
    if as_json:
        print_json(fetched)
        return
    for model in fetched:
        action = "was downloaded to" if model["fetched"] else "is already in"
        typer.echo(f"{model['name']} {action} {model['path']} ({as_text(model['size'])}).")


@app.command("add")
def add(
    model: Annotated[
        str,
        typer.Argument(
            help="Path of a GGUF file or of a model's directory; or a name, with one of the sources below."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name for jobs to use; by default that of the file.")
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(help="The model's service, e.g. llm_inference; by default what its files are for."),
    ] = None,
    copy: Annotated[
        bool,
        typer.Option(
            "--copy", help="Copy the files to the models directory; by default they stay where they are."
        ),
    ] = False,
    projector: Annotated[
        str | None, typer.Option(help="GGUF file that lets the model see images (mmproj).")
    ] = None,
    repository: Annotated[str | None, typer.Option(help="Hugging Face repository, e.g. owner/name.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag of the repository.")] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(help="Files of the repository to download, e.g. '*.gguf'; may be repeated."),
    ] = None,
    path: Annotated[
        str | None, typer.Option(help="GGUF file or directory of this machine that contains the model.")
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option(help="URL of a file; may be repeated, each with --sha256.")
    ] = None,
    sha256: Annotated[list[str] | None, typer.Option(help="Hex SHA-256 of the file at --url.")] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="File name for --url; by default the one in the URL.")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Engine that runs it; by default those that can load its files.")
    ] = None,
    vram: Annotated[
        str | None,
        typer.Option(help="GPU memory that the model needs, e.g. 6Gi; by default computed from its files."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="Memory that the model needs without a GPU; by default computed as well."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX identifier of its licence.")] = None,
    description: Annotated[str | None, typer.Option(help="One-line description.")] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The model is an adapter for another model (LoRA).")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(help="Language model that the --adapter changes; jobs name the adapter as their model."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Setting for its runner, NAME=JSON; may be repeated.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a model of your own to DATA_DIR/models.toml. It replaces a shipped one of the same name."""
    settings = settings_from(data_dir, config)
    if repository is None and not url and path is None and owners_models.is_path(model):
        path = model
    elif name is not None and path is None:
        raise AgentError(f"There is no file {model}. Give a path and --name, or a name and its source.")
    else:
        name = name or model
    stated: dict[str, Any] = {
        "service": service,
        "engines": engine or None,
        "repository": repository,
        "revision": revision,
        "patterns": pattern or None,
        "files": owners_models.files(url or [], sha256 or [], file or []) or None,
        "vram": vram,
        "memory": memory,
        "licence": licence,
        "description": description,
        "kind": "adapter" if adapter else None,
        "options": owners_models.options(option or []) or None,
    }
    stated = {field: value for field, value in stated.items() if value is not None}
    if adapter and (base is not None or service == TEXT):
        written = local_models.add_adapter(settings, path, name, base, stated, copy=copy)
    elif path is not None:
        written = local_models.add(settings, path, name, stated, projector, copy=copy)
    else:
        owners_models.validate({"name": name, **stated})
        described = hub_models.completed(stated) if repository is not None else stated
        written = owners_models.add(settings.data_dir, {"name": name, **described})
    _notify(settings)
    if as_json:
        print_json(written)
        return
    memory = f", {written['memory']} of memory or {written['vram']} of a GPU" if "memory" in written else ""
    typer.echo(
        f"{written['name']} was added to {owners_catalogue_file(settings.data_dir)}: {written['service']} with "
        f"{' or '.join(written['engines'])}{memory}."
    )


@app.command("remove")
def remove(name: Name, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Remove a model: its files in the models directory, even if another program put them there, and its entry if you added it."""
    settings = settings_from(data_dir, config)
    store, model_directory = _open(settings)
    entry = store.catalogue.get(name)
    is_partial = model_directory.partial(name).exists()
    if entry is None and not is_partial:
        raise AgentError(f"There is no model {name!r}. `aitbc-agent models list` shows all models.")
    is_own = name in load_owners_catalogue(settings.data_dir)
    # Another program may use it, and the agent has not put it there.
    elsewhere = entry.path if entry is not None else None
    if elsewhere is None and not is_own and not store.has(name) and not is_partial:
        raise AgentError(f"{name} is not on this machine.")
    stored = [
        stored_model
        for stored_model in model_directory.stored()
        if elsewhere is None and stored_model.name in (name, model_directory.partial(name).name)
    ]
    if not _unload(settings, name) or not all(
        model_directory.remove(stored_model.name) for stored_model in stored
    ):
        raise AgentError(f"{name} is in use. Wait until it is idle, or stop the agent.")
    if is_own:
        owners_models.remove(settings.data_dir, name)
    _notify(settings)
    freed = sum(stored_model.size for stored_model in stored)
    if as_json:
        print_json({"name": name, "removed": True, "freed": freed})
        return
    typer.echo(f"{name} was removed ({as_text(freed)}).")
    if elsewhere is not None:
        typer.echo(f"Its files stay in {elsewhere}.")


def _notify(settings: Settings, **fields: str) -> None:
    """Have a running agent offer the models as they are now."""
    # Without an agent that runs there is nothing to do, and one of an older version finds out when it starts.
    with suppress(ControlUnavailable, CallRefused):
        asyncio.run(ask(settings.data_dir, "models_changed", **fields))


def _unload(settings: Settings, name: str) -> bool:
    """Have a running agent unload a model that no job uses. Return whether it is not loaded now."""
    deadline = time.monotonic() + _UNLOAD_SECONDS
    while name in loaded_models(_status(settings).get("children", ())):
        if time.monotonic() > deadline:
            return False
        _notify(settings, unload=name)
        time.sleep(_POLL_SECONDS)
    return True


def _open(settings: Settings) -> tuple[ModelStore, ModelDirectory]:
    return ModelStore(settings.models_dir, load_catalogue(settings.data_dir)), ModelDirectory(
        settings.models_dir
    )


def _status(settings: Settings) -> dict[str, Any]:
    """Return the status of this data directory's agent; empty if it is not running."""
    try:
        return asyncio.run(ask(settings.data_dir, "status"))
    except ControlUnavailable:
        return {}


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
