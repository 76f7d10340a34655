"""The files of a diffusion model and of a LoRA: their pipeline and their weights.

A model's directory is untrusted. It may name its own code and contain pickles, which run code
when they are read; neither is loaded. This module selects the files to load, without an engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.api import Model
from runners.model_errors import not_downloaded, unusable

INDEX = "model_index.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
"""diffusers' name of a LoRA's weights; the only safetensors file of a directory may have another name."""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that are not loaded. The last two serve only the first, and picture prompts, which requests do not support.

The safety checker is omitted because the operator decides whether and how pictures are filtered, not the one
model family that has a filter. It takes 1.2 GB and blackens pictures by a single notion of indecency, and the client
would pay for them.
"""

DENOISERS = ("transformer", "unet")
"""The part that performs the steps, by diffusers' names; a pipeline has one of them."""

_LIBRARIES = ("diffusers", "transformers")
_PART = re.compile(r"transformer|unet|vae|scheduler|processor|(text_encoder|tokenizer)(_\d)?")
"""The parts of the pipelines that the runner drives. Others, such as a ControlNet, a prior or a refiner, need inputs that
requests do not have."""

_CLASS = re.compile(r"[A-Z]\w{0,99}")
_WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The content of a model's directory."""

    pipeline: str
    """The pipeline's class."""
    variant: str | None
    """diffusers' `variant`: "fp16" if only weights in half precision are there."""
    weights: tuple[Path, ...]
    """In a fixed order, so that their digest identifies the model."""
    encoders: Mapping[str, str]
    """The classes of text encoders in transformers, by part."""
    denoiser: str
    """The part that performs the steps."""
    denoiser_class: str
    """Its class in diffusers."""
    gguf: Path | None = None
    """The file with its quantised weights; None if they are in its own directory."""


def examine(model: Model) -> ModelFiles:
    """Examine a model's directory. Raises `Retry` with MODEL_UNAVAILABLE if it is missing or cannot be loaded."""
    index = _index(model)
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or _CLASS.fullmatch(pipeline) is None:
        raise unusable(model.name, f"its pipeline is {str(pipeline)[:100]!r}, which is no class of diffusers")
    parts = sorted(_parts(model, index))
    denoisers = [name for name in DENOISERS if name in parts]
    if len(denoisers) != 1 or "vae" not in parts:
        raise unusable(model.name, f"{pipeline} has no denoiser (transformer or unet) with a decoder (vae)")
    gguf = _gguf(model, denoisers[0])
    by_part = {name: _weights(model, name) for name in parts if gguf is None or name != denoisers[0]}
    # diffusers takes one variant for the whole pipeline, and falls back to full precision for parts that lack it.
    only_half = any(files and all(".fp16" in path.name for path in files) for files in by_part.values())
    weights = {name: _chosen(files, half=only_half) for name, files in by_part.items()}
    if gguf is not None:
        weights[denoisers[0]] = (gguf,)
    if not any(weights.values()):
        raise unusable(model.name, "it has no weights")
    encoders = {
        name: index[name][1] for name, files in by_part.items() if files and index[name][0] == "transformers"
    }
    return ModelFiles(
        pipeline=pipeline,
        variant="fp16" if only_half else None,
        weights=tuple(path for name in parts for path in weights[name]),
        encoders=encoders,
        denoiser=denoisers[0],
        denoiser_class=index[denoisers[0]][1],
        gguf=gguf,
    )


def lora_file(lora: Model) -> Path:
    """Return the weights of a LoRA. Raises `Retry` with MODEL_UNAVAILABLE if they are missing."""
    named = lora.path / LORA_FILE
    if named.is_file():
        return named
    candidates = sorted(lora.path.glob("*.safetensors"))
    if len(candidates) != 1:
        raise unusable(lora.name, f"its directory has neither {LORA_FILE} nor one other safetensors file")
    return candidates[0]


def _index(model: Model) -> Mapping[str, Any]:
    try:
        index = json.loads((model.path / INDEX).read_bytes())
    except FileNotFoundError:
        raise not_downloaded(model.name) from None
    except (OSError, ValueError) as error:
        raise unusable(model.name, f"its {INDEX} cannot be read") from error
    if not isinstance(index, dict):
        raise unusable(model.name, f"its {INDEX} is not an object")
    return index


def _parts(model: Model, index: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the parts to load, which are also their directories."""
    for name, value in index.items():
        if not isinstance(value, list) or name in UNUSED or value[:1] == [None]:
            continue
        library, kind = value if len(value) == 2 else (None, None)  # noqa: PLR2004 - diffusers' form: library, class
        # Transformers' `Auto` classes take the name of the class, and of its code, from another file of the directory.
        automatic = library == "transformers" and str(kind).startswith("Auto")
        if library not in _LIBRARIES or _CLASS.fullmatch(str(kind)) is None or automatic:
            raise unusable(model.name, f"its part {name[:100]!r} would run its own code")
        if _PART.fullmatch(name) is None:
            raise unusable(model.name, f"its part {name[:100]!r} is not one that the runner supports")
        yield name


def _gguf(model: Model, denoiser: str) -> Path | None:
    """Return the file with the denoiser's quantised weights, None if there is none."""
    quantised = [*sorted(model.path.glob("*.gguf")), *sorted((model.path / denoiser).glob("*.gguf"))]
    if len(quantised) > 1:
        names = ", ".join(path.name for path in quantised[:5])
        raise unusable(model.name, f"it has several GGUF files ({names}); remove all but one")
    return quantised[0] if quantised else None


def _weights(model: Model, part: str) -> tuple[Path, ...]:
    directory = model.path / part
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    weights = tuple(path for path in files if _WEIGHTS.fullmatch(path.name))
    if not weights and any(path.suffix in _PICKLES for path in files):
        raise unusable(
            model.name,
            f"the weights of its part {part!r} are pickles, which can run code; get them as safetensors",
        )
    return weights


def _chosen(files: tuple[Path, ...], *, half: bool) -> tuple[Path, ...]:
    """Return the weights of a part that diffusers reads: those in half precision only if requested and present."""
    halves = tuple(path for path in files if ".fp16" in path.name)
    return halves if half and halves else tuple(path for path in files if path not in halves)
