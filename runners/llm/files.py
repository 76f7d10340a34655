"""The files of a language model."""

from __future__ import annotations

from pathlib import Path

from runners.api import Model
from runners.engine_server.llama import gguf_file, gguf_files, projector_file

TEMPLATES = Path(__file__).with_name("templates")

_DESCRIPTIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Files other than the weights that influence a model's answers."""


def weights(model: Model) -> tuple[Path, ...]:
    """Return a model's files in a fixed order; empty if it has none in a supported format.

    Pickles (`.bin`, `.pt`) are never loaded, because they can run arbitrary code.
    """
    tensors = sorted(model.path.glob("*.safetensors")) if (model.path / "config.json").is_file() else []
    if tensors:
        return (*tensors, *(path for name in _DESCRIPTIONS if (path := model.path / name).is_file()))
    parts, projector = gguf_files(model), projector_file(model)
    beside = [*([] if projector is None else [projector]), *adapter_files(model).values()]
    return (*parts, *(beside if parts else ()))


def adapter_files(model: Model) -> dict[str, Path]:
    """Return the GGUF files of a model's adapters, by the names of the models that use them."""
    files = {name: gguf_file(Model(name, path)) for name, path in model.adapters.items()}
    return {name: file for name, file in sorted(files.items()) if file is not None}


def chat_template(model: Model) -> str | None:
    """Return the chat template that a model's entry names in place of the model's own, None if it names none."""
    name = model.options.get("template")
    return None if name is None else (TEMPLATES / f"{name}.jinja").read_text()
