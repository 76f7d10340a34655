"""What Ollama's paths say about models: those that can be used, one of them, and those that are loaded."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.catalogue import CatalogueEntry
from agent.coordinator.features.client_apis import models, services
from agent.coordinator.features.client_apis.models import Model
from agent.coordinator.features.client_apis.naming import resolve
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.supply import fleet, supply
from agent.core.errors import NotFound
from aitbc.answers.fields import example
from aitbc.canonical import canonical_json, sha256_hex

TAG: Final = ":latest"
"""Every name in Ollama's lists has a tag. There is one version of each model here."""
SERVICES: Final = (services.TEXT, services.EMBEDDINGS)
UNKNOWN_TIME: Final = "1970-01-01T00:00:00Z"
NEVER: Final = "9999-12-31T00:00:00Z"
"""Nothing expires: a miner unloads a model when it needs the memory for another one."""

_PARAMETERS: Final = re.compile(r"(?:^|[-_])(\d+(?:\.\d+)?[bm])(?:$|[-_.])")
_QUANTIZATION: Final = re.compile(r"\b(I?Q\d_\w+|BF16|F16)\b", re.IGNORECASE)


class OllamaDetails(BaseModel, defer_build=True):
    """What is known about a model; empty what is not. Size and quantization are those that its names contain."""

    parent_model: str = ""
    format: str
    family: str = ""
    families: list[str] | None = None
    parameter_size: str
    quantization_level: str


class OllamaModel(BaseModel, defer_build=True):
    """A model that can be used. `digest` is that of what the catalogue says about it, `size` the bytes of its download, 0 if unknown."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails


_SHOWN: Final[dict[str, Any]] = {
    "name": "smollm2-135m-instruct:latest",
    "model": "smollm2-135m-instruct:latest",
    "size": 98_855_104,
    "digest": "9b1e1f2f0b0f3a6a0c6c1d4dbb5bfbd8c1cfcb8bd0d7a5d2b2a0c0b1a9f8e7d6",
    "details": {"parent_model": "", "format": "gguf", "family": "", "families": None, "parameter_size": "135M", "quantization_level": "Q4_1"},
}  # fmt: skip


class OllamaModelList(BaseModel, defer_build=True):
    """The models for text and embeddings that miners would run now."""

    model_config = example({"models": [{**_SHOWN, "modified_at": UNKNOWN_TIME}]})

    models: list[OllamaModel]


class LoadedOllamaModel(BaseModel, defer_build=True):
    """A model that is loaded somewhere. `size` is the memory that it needs, `size_vram` that on a GPU. Nothing expires."""

    name: str
    model: str
    size: int
    digest: str
    details: OllamaDetails
    expires_at: str
    size_vram: int


class LoadedOllamaModels(BaseModel, defer_build=True):
    """The models for text and embeddings that online miners have loaded."""

    model_config = example({"models": [{**_SHOWN, "expires_at": NEVER, "size_vram": 0}]})

    models: list[LoadedOllamaModel]


class ShownOllamaModel(BaseModel, defer_build=True):
    """A model. Template and parameters are those in its own files, which the coordinator does not have."""

    model_config = ConfigDict(
        protected_namespaces=(),
        **example({
            "modelfile": "FROM smollm2-135m-instruct:latest", "parameters": "", "template": "", "license": "Apache-2.0",
            "modified_at": UNKNOWN_TIME, "details": _SHOWN["details"], "capabilities": ["completion", "tools"],
            "model_info": {"general.basename": "smollm2-135m-instruct"},
        }),
    )  # fmt: skip

    modelfile: str
    parameters: str
    template: str
    license: str
    modified_at: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[Literal["completion", "tools", "vision", "embedding"]]


class OllamaStatus(BaseModel, defer_build=True):
    """A step of looking for a model."""

    model_config = example({"status": "success"})

    status: str = Field(examples=["success"])


async def usable(context: Context) -> OllamaModelList:
    """Return the models for text and embeddings that a miner would run now."""
    offered = (await models.find_all(context, available=True)).data
    return OllamaModelList(
        models=[_listed(context, model.id) for model in offered if model.service_id in SERVICES]
    )


async def loaded(context: Context) -> LoadedOllamaModels:
    """Return the models for text and embeddings that online miners have loaded."""
    on_gpu: dict[str, bool] = {}
    for miner in (await fleet(context)).miners:
        for service_id in SERVICES if miner.online else ():
            offer = miner.candidate.services.get(service_id)
            for name in offer.loaded if offer else ():
                on_gpu[name] = on_gpu.get(name, False) or miner.candidate.gpus > 0
    return LoadedOllamaModels(models=[_loaded(context, name, on_gpu=on_gpu[name]) for name in sorted(on_gpu)])


async def shown(context: Context, name: str) -> ShownOllamaModel:
    """Return a model. Raises `NotFound`, which names the nearest."""
    model = await find(context, name)
    entry = context.catalogue.models.get(model.id)
    return ShownOllamaModel(
        modelfile=f"FROM {model.id}{TAG}",
        parameters="",
        template="",
        license=entry.licence if entry else "",
        modified_at=UNKNOWN_TIME,
        details=_details(model.id, entry),
        model_info=_information(model.id, entry),
        capabilities=_capabilities(model, entry),
    )


async def find(context: Context, name: str) -> Model:
    """Return a model for text or embeddings by its own name, given any of its names. Raises `NotFound`, which names the nearest."""
    model = await models.find(context, name)
    if model.service_id not in SERVICES:
        raise NotFound(
            f"The model {name!r} is for the service {model.service_id}, which these paths do not have."
        )
    return model.model_copy(
        update={"id": await resolve(context, context.catalogue.services[model.service_id], name)}
    )


async def pulled(context: Context, name: str) -> list[OllamaStatus]:
    """Return the steps after which a request may name the model; nothing is downloaded for them. Raises `NotFound`."""
    model = await find(context, name)
    steps = ["pulling manifest", "success"]
    if not model.available:
        entry = context.catalogue.models.get(model.id)
        can_fetch = (
            entry is not None and entry.fetchable and (await supply(context, model.service_id)).downloads
        )
        if not can_fetch:
            raise NotFound(
                f"No miner that is online has the model {model.id!r} or can download it. The owner of a miner can add it: "
                f"'aitbc-agent models pull {model.id}'.",
                {"model": model.id},
            )
        steps.insert(1, "a miner downloads the model with the first request that names it")
    return [OllamaStatus(status=step) for step in steps]


def _listed(context: Context, name: str) -> OllamaModel:
    entry = context.catalogue.models.get(name)
    return OllamaModel(modified_at=UNKNOWN_TIME, size=_download(entry), **_described(name, entry))


def _loaded(context: Context, name: str, *, on_gpu: bool) -> LoadedOllamaModel:
    entry = context.catalogue.models.get(name)
    size = 0 if entry is None else entry.vram if on_gpu else entry.memory
    vram = size if on_gpu else 0
    return LoadedOllamaModel(expires_at=NEVER, size=size, size_vram=vram, **_described(name, entry))


def _described(name: str, entry: CatalogueEntry | None) -> dict[str, Any]:
    """Return what both lists say about a model."""
    tagged = f"{name}{TAG}"
    return {
        "name": tagged,
        "model": tagged,
        "digest": _digest(name, entry),
        "details": _details(name, entry),
    }


def _download(entry: CatalogueEntry | None) -> int:
    if entry is None:
        return 0
    return entry.size or sum(file.size or 0 for file in entry.files)


def _digest(name: str, entry: CatalogueEntry | None) -> str:
    """Return a digest that changes with the files of the model, as far as the catalogue knows them."""
    source: dict[str, Any] = {"name": name}
    if entry is not None:
        files = {file.name: file.sha256 for file in entry.files}
        source |= {
            "repository": entry.repository,
            "revision": entry.revision,
            "files": {**entry.digests, **files},
        }
    return sha256_hex(canonical_json(source))


def _details(name: str, entry: CatalogueEntry | None) -> OllamaDetails:
    files = [] if entry is None else [*(file.name for file in entry.files), *entry.digests, *entry.patterns]
    is_gguf = entry is not None and "llama.cpp" in entry.engines
    quantization = _QUANTIZATION.search(" ".join(file for file in files if file.endswith(".gguf")))
    parameters = _PARAMETERS.search(name.lower())
    return OllamaDetails(
        format="gguf" if is_gguf else "safetensors" if entry else "",
        parameter_size=parameters[1].upper() if parameters else "",
        quantization_level=quantization[1].upper() if quantization else "",
    )


def _information(name: str, entry: CatalogueEntry | None) -> dict[str, Any]:
    """Return the model's name, and its context as far as the catalogue limits it: clients look for it behind the architecture's name."""
    context = None if entry is None else entry.options.get("context")
    length = {} if context is None else {"general.architecture": "unknown", "unknown.context_length": context}
    return {"general.basename": name, **length}


def _capabilities(
    model: Model, entry: CatalogueEntry | None
) -> list[Literal["completion", "tools", "vision", "embedding"]]:
    """Return what a model can do. It sees unless it is known not to; whether it calls functions well, only use can show."""
    if model.service_id == services.EMBEDDINGS:
        return ["embedding"]
    sees = entry is not None and "vision" not in entry.lacks
    return ["completion", "tools", *(["vision"] if sees else [])]  # type: ignore[list-item] # mypy widens the inner list
