"""Pulls models of the Hugging Face Hub that are in no catalogue, and adds them to the owner's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import typer

from agent.catalogue import parse_catalogue
from agent.cli.commands.machine import owners_models
from agent.cli.commands.machine.engines import as_text
from agent.cli.terminal.fetching import fetch_all
from agent.core.errors import AgentError
from agent.hub_names import HubReference, parse_reference, pulled_name
from agent.miner.models.hub import needs_token
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.pulling import HubModel, HubUnreachable, look_up
from agent.miner.models.recognition import NotRecognized, files_of, recognize
from agent.miner.models.store import ModelStore
from agent.settings import Settings


def pull(
    settings: Settings,
    store: ModelStore,
    model_directory: ModelDirectory,
    reference: HubReference,
    name: str | None = None,
) -> dict[str, Any]:
    """Download a model and add it to the owner's catalogue, at the commit and with the digests that it has now. Raises `AgentError`."""
    known_name = name or pulled_name(reference.repository, reference.form)
    if known_name in store.catalogue:
        return fetch_all(settings, store, model_directory, [known_name])[0]
    model = look_up(reference)
    chosen_name = name or model.name
    if chosen_name in store.catalogue:
        return fetch_all(settings, store, model_directory, [chosen_name])[0]
    source = model.entry()
    # Which service and engines it is for is known when its files are here.
    store.replace(
        {**store.catalogue, **parse_catalogue({"models": [{**source, **_provisional(chosen_name, source)}]})}
    )
    _announce(model, chosen_name)
    entry = store.entry(chosen_name)
    if model.gated and not _has_token():
        raise AgentError(str(needs_token(entry)))
    fetched = fetch_all(settings, store, model_directory, [chosen_name])[0]
    try:
        recognized = recognize(files_of(store.location(entry))).entry()
    except NotRecognized:
        model_directory.remove(chosen_name)
        raise
    about = {"description": recognized["description"] or f"{model.repository} from the Hugging Face Hub"}
    owners_models.add(settings.data_dir, {"name": chosen_name, **recognized, **source, **about})
    return fetched


def completed(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an entry with a repository, completed by what the Hub says of it. Raises `NotPulled`."""
    reference = parse_reference(str(stated["repository"]))
    is_complete = "patterns" in stated and {"memory", "vram"} & stated.keys()
    if reference is None or is_complete:
        return dict(stated)
    patterns = stated.get("patterns", ())
    try:
        model = look_up(replace(reference, revision=stated.get("revision", reference.revision)), patterns)
    except HubUnreachable:
        # Without the Hub, the memory that the owner states is enough.
        if not {"memory", "vram"} & stated.keys():
            raise
        return dict(stated)
    source = model.entry()
    if patterns:
        # Pinned only as far as the owner has done so.
        source = {"licence": model.licence}
    return {**model.estimate(), **source, **stated, "repository": model.repository}


def _provisional(name: str, source: dict[str, Any]) -> dict[str, Any]:
    engine = "faster-whisper" if "model.bin" in source["patterns"] else "llama.cpp"
    return {"name": name, "service": "llm_inference", "engines": [engine]}


def _announce(model: HubModel, name: str) -> None:
    """Say what will be downloaded, before it is."""
    weights = max(model.files, key=lambda file: file.size).name
    files = weights if len(model.files) == 1 else f"{weights} and {len(model.files) - 1} more"
    terms = ", whose terms must be accepted" if model.gated else ""
    page = f"https://huggingface.co/{model.repository}"
    typer.echo(
        f"{model.repository} at {model.commit[:8]}: {files}, {as_text(model.size)}. Licence: {model.licence}{terms} ({page}). "
        f"Its name here: {name}.",
        err=True,
    )


def _has_token() -> bool:
    from huggingface_hub import get_token  # noqa: PLC0415 - the import takes a second

    return bool(os.environ.get("HF_TOKEN") or get_token())
