"""The names by which requests may call a model: its own, other spellings of it, and aliases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agent.catalogue import CatalogueEntry
from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.validation import MAX_SHOWN, is_model, model_names
from agent.coordinator.operations.supply import supply
from agent.core.errors import NotFound
from agent.hub_names import form_after, pulled_name
from agent.sections import section_of
from runners.api import ServiceDefinition
from runners.near_names import MAX_CONSIDERED, hint

BUILT_IN: Final[Mapping[str, tuple[re.Pattern[str], int]]] = {
    # Not those for sound, and no open models such as gpt-oss.
    services.TEXT: (
        re.compile(
            r"(?!.*-(audio|realtime|transcribe|tts))((chat)?gpt-\d[\w.-]*|claude-[\w.-]+|o[1-9](-[\w.-]+)?)"
        ),
        6 * 2**30,
    ),
    services.SPEECH: (re.compile(r"whisper-1|gpt-4o(-mini)?-transcribe"), 0),
    services.VOICES: (re.compile(r"tts-1(-hd)?|gpt-4o(-mini)?-tts"), 0),
    services.RERANKING: (re.compile(r"rerank-(english-|multilingual-)?v[\d.]+(-fast|-pro)?"), 0),
    services.IMAGES: (re.compile(r"dall-e-[23]|gpt-image-[\w.-]+"), 2 * 2**30),
}
"""Names of models of other companies that stand for the largest model of a service which can be used now, and the bytes of GPU memory
that such a model needs at least: smaller ones do not do what is expected of these names.

There are none for embeddings, since vectors of one model are useless for another.
"""
_HUB: Final = re.compile(r"(https?://)?(hf\.co|huggingface\.co)/", re.IGNORECASE)


async def known_models(context: Context, definition: ServiceDefinition) -> list[str]:
    """Return the models that a request to this service may name."""
    return model_names(context, definition, (await supply(context, definition.service_id)).models)


async def resolve(context: Context, definition: ServiceDefinition, name: str) -> str:
    """Return the model of this service that a request names: by its name, another spelling or an alias.

    Raises `NotFound`, which says what the name is, or names the nearest model.
    """
    model = await model_named(context, definition, name)
    if model is not None:
        return model
    entry = context.catalogue.models.get(name)
    # The catalogue's word counts before that of miners, which may give any names to their models.
    others = sorted(
        context.catalogue.services.values(),
        key=lambda other: entry is None or entry.service != other.service_id,
    )
    for other in others:
        if other is not definition and await model_named(context, other, name, built_in=False) is not None:
            short_name = name[:MAX_SHOWN]
            usage = services.USES.get(other.service_id, f"the service {other.service_id}")
            message = f"{short_name!r} is a model of another service ({usage})."
            raise NotFound(message, {"model": short_name, "service_id": other.service_id})
    raise unknown_model(name, await known_models(context, definition))


def is_built_in(definition: ServiceDefinition, name: str) -> bool:
    """Return whether a name stands for the best of the models that can be used, which may be another one each time."""
    pattern, _ = BUILT_IN.get(definition.service_id, (None, 0))
    return pattern is not None and pattern.fullmatch(name) is not None


def unknown_model(name: str, models: Sequence[str]) -> NotFound:
    """Return the error for an unknown model."""
    short_name = name[:MAX_SHOWN]
    return NotFound(
        f"There is no model {short_name!r}.{hint(name, models)}.",
        {"model": short_name, "known": models[:MAX_CONSIDERED]},
    )


async def model_named(
    context: Context, definition: ServiceDefinition, name: str, *, built_in: bool = True
) -> str | None:
    """Return the same as `resolve`, or None if the name is not one of this service."""
    if definition.model_field is None:
        return None
    aliases = section_of(context.settings, ClientApiSettings).model_aliases
    # First of all: no miner may take an operator's alias by giving that name to a model.
    name = _aliased(aliases, name)
    supplied = await supply(context, definition.service_id)
    if is_model(context, definition, supplied.models, name):
        return name
    models = model_names(context, definition, supplied.models)
    spelling = _Spelling(name)
    spelled = [model for model in models if spelling.is_of(context, definition, model)]
    # Several models may come from one repository.
    if spelled:
        return min(spelled, key=lambda model: model not in supplied.ready)
    return _best(context, definition, name, supplied.ready) if built_in else None


def _aliased(aliases: Mapping[str, str], name: str) -> str:
    """Return what an operator's alias stands for. One that ends in * is for all names which begin so; the longest counts."""
    if name in aliases:
        return aliases[name]
    patterns = [alias for alias in aliases if alias.endswith("*") and name.startswith(alias[:-1])]
    return aliases[max(patterns, key=len)] if patterns else name


class _Spelling:
    """A name, as it is compared with those of models."""

    def __init__(self, name: str) -> None:
        self._folded = _HUB.sub("", name).casefold()
        self._stem, _, self._tag = self._folded.partition(":")
        form = None if self._tag in ("", "latest") else self._tag
        self._pulled = pulled_name(self._stem, form) if "/" in self._stem else None

    def is_of(self, context: Context, definition: ServiceDefinition, model: str) -> bool:
        """Return whether it is a spelling of a model's name, or of its repository."""
        entry = context.catalogue.models.get(model)
        spellings = set(_spellings(definition, model, entry))
        if self._folded in spellings or self._folded.replace(":", "-") in spellings:
            return True
        # Models that a miner has pulled by a name of the Hub are in no catalogue here.
        if self._pulled is not None and (
            model == self._pulled or (self._tag in ("", "latest") and form_after(self._pulled, model))
        ):
            return True
        return self._stem in spellings and (self._tag == "latest" or _has_form(entry, self._tag))


def _spellings(definition: ServiceDefinition, model: str, entry: CatalogueEntry | None) -> Iterator[str]:
    yield model.casefold()
    if entry is not None and entry.repository is not None:
        yield entry.repository.casefold()
    # Other servers call Whisper's models by the names of OpenAI's repositories.
    if definition.service_id == services.SPEECH:
        yield from (f"whisper-{model.casefold()}", f"openai/whisper-{model.casefold()}")


def _has_form(entry: CatalogueEntry | None, tag: str) -> bool:
    """Return whether a model's files are those of a tag, such as Q4_K_M."""
    if entry is None or not tag:
        return False
    files = [*entry.patterns, *entry.digests, *(file.name for file in entry.files)]
    return any(f"{tag}." in file.casefold() for file in files)


def _best(context: Context, definition: ServiceDefinition, name: str, ready: frozenset[str]) -> str | None:
    if not is_built_in(definition, name):
        return None
    _, least = BUILT_IN[definition.service_id]
    entries = [
        entry
        for model in sorted(ready)
        if is_model(context, definition, frozenset(), model)
        and (entry := context.catalogue.models[model]).vram >= least
    ]
    # Whisper's models ending in .en know only English.
    best = max(
        entries, key=lambda entry: (not entry.name.endswith(".en"), entry.vram, entry.memory), default=None
    )
    return None if best is None else best.name
