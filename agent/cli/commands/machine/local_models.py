"""Adds models whose files are on this machine already. They stay where they are, unless the owner wants a copy."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.catalogue import CatalogueEntry, load_catalogue
from agent.cli.commands.machine import owners_models
from agent.core.errors import ConfigurationError
from agent.hub_names import safe_name
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.recognition import (
    LLAMA,
    TEXT,
    NotRecognized,
    files_of,
    recognize,
    recognize_gguf,
    require_adapter,
)
from agent.settings import Settings
from runners.model_files.gguf_header import is_gguf, shards


def add(
    settings: Settings,
    path: str,
    name: str | None,
    stated: Mapping[str, Any],
    projector: str | None,
    *,
    copy: bool,
) -> dict[str, Any]:
    """Add the model at a path to the owner's catalogue, and return its entry. What is `stated` takes precedence over what its files say.

    Raises `ConfigurationError`, `NotRecognized`.
    """
    source = Path(path).expanduser().absolute()
    if source.is_dir():
        if projector is not None:
            raise ConfigurationError(
                "Put the projector into the directory, under a name that begins with mmproj."
            )
        return _add_directory(settings, source, name, stated, copy=copy)
    if not source.is_file():
        raise ConfigurationError(f"There is no file or directory {source}.")
    if not is_gguf(source):
        raise ConfigurationError(
            f"{source} is not a GGUF file. To add a model in another format, give its directory."
        )
    projectors = [] if projector is None else [Path(projector).expanduser().absolute()]
    for file in projectors:
        if not is_gguf(file):
            raise ConfigurationError(f"{file} is not a GGUF file.")
    recognized = recognize_gguf([source], projectors, _context(stated)).entry()
    parts = shards(source)
    # Blobs of other programs have no suffix, and a name of one's own could collide with that of the projector.
    links = {part.name if len(parts) > 1 else "model.gguf": part for part in parts}
    if projectors:
        links["mmproj-model.gguf"] = projectors[0]
    stem = parts[0].name.removesuffix(".gguf").partition("-00001-of-")[0]
    chosen = _free_name(settings, name or safe_name(stem))
    _put(settings.models_dir, chosen, links, copy=copy)
    try:
        return owners_models.add(
            settings.data_dir, {"name": chosen, **recognized, **stated, "own_files": True}
        )
    except ConfigurationError:
        ModelDirectory(settings.models_dir).remove(chosen)
        raise


def add_adapter(
    settings: Settings,
    path: str | None,
    name: str | None,
    base: str | None,
    stated: Mapping[str, Any],
    *,
    copy: bool,
) -> dict[str, Any]:
    """Add an adapter (LoRA) of a language model as a model of its own, and return its entry.

    Raises `ConfigurationError`, `NotRecognized`.
    """
    if path is None or base is None:
        raise ConfigurationError(
            "Give the path of the adapter's GGUF file, and by --base the language model that it changes."
        )
    source = Path(path).expanduser().absolute()
    if not source.is_file() or not is_gguf(source):
        raise ConfigurationError(
            f"{source} is not a GGUF file. Adapters of PEFT are converted by convert_lora_to_gguf.py, which comes with llama.cpp."
        )
    changed = load_catalogue(settings.data_dir).get(base)
    if changed is None or changed.service != TEXT or changed.base is not None:
        raise ConfigurationError(
            f"There is no language model {base}. `aitbc-agent models list --service {TEXT}` shows them."
        )
    if LLAMA not in changed.engines:
        raise ConfigurationError(
            f"{base} does not run in {LLAMA}, the only engine with adapters here. Pull it as GGUF."
        )
    require_adapter(source, _weights_of(settings, changed))
    chosen = _free_name(settings, name or safe_name(source.name.removesuffix(".gguf")))
    size = source.stat().st_size
    entry: dict[str, Any] = {
        "name": chosen,
        "service": TEXT,
        "engines": [LLAMA],
        "base": base,
        "vram": str(changed.vram + size),
        "vram_min": str(changed.vram_min + size),
        "memory": str(changed.memory + size),
        "description": f"{base} with an adapter",
        **stated,
        "kind": "model",
        "own_files": True,
    }
    _put(settings.models_dir, chosen, {"adapter.gguf": source}, copy=copy)
    try:
        return owners_models.add(settings.data_dir, entry)
    except ConfigurationError:
        ModelDirectory(settings.models_dir).remove(chosen)
        raise


def _weights_of(settings: Settings, base: CatalogueEntry) -> Path | None:
    """Return the GGUF file of a model, None if it is not on this machine."""
    directory = settings.models_dir / base.name if base.path is None else Path(base.path)
    files = [file for file in files_of(directory) if is_gguf(file)] if directory.is_dir() else []
    return next((file for file in files if not file.name.startswith("mmproj")), None)


def _add_directory(
    settings: Settings, source: Path, name: str | None, stated: Mapping[str, Any], *, copy: bool
) -> dict[str, Any]:
    try:
        recognized = recognize(files_of(source), _context(stated)).entry()
    except NotRecognized:
        # Of a kind that only its runner knows. What it needs must then be stated.
        if "service" not in stated or not {"memory", "vram"} & stated.keys():
            raise
        recognized = {}
    chosen = name or safe_name(source.name)
    entry: dict[str, Any] = {"name": chosen, **recognized, **stated}
    if not copy:
        return owners_models.add(settings.data_dir, {**entry, "path": str(source)})
    files = files_of(source)
    _put(
        settings.models_dir,
        _free_name(settings, chosen),
        {file.relative_to(source).as_posix(): file for file in files},
        copy=True,
    )
    return owners_models.add(settings.data_dir, {**entry, "own_files": True})


def _context(stated: Mapping[str, Any]) -> int | None:
    """Return the tokens of all requests together that the owner states, None without a word of theirs."""
    context = stated.get("options", {}).get("context")
    return context if isinstance(context, int) and context > 0 else None


def _free_name(settings: Settings, name: str) -> str:
    """Return the name. Raises `ConfigurationError` if a model has it already."""
    if name in load_catalogue(settings.data_dir) or (settings.models_dir / name).exists():
        raise ConfigurationError(
            f"There is a model {name} already. Choose another name by --name, or remove that model first."
        )
    return name


def _put(models_dir: Path, name: str, files: Mapping[str, Path], *, copy: bool) -> None:
    """Link or copy files to the model's directory, which appears when it is complete. Raises `OSError`."""
    partial = ModelDirectory(models_dir).partial(name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for target, file in files.items():
        (partial / target).parent.mkdir(parents=True, exist_ok=True)
        if copy:
            shutil.copyfile(file, partial / target)
        else:
            (partial / target).symlink_to(file)
    partial.rename(models_dir / name)
