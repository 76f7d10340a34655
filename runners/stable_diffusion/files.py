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

from runners.api import FailureCode, Model, Retry
from runners.stable_diffusion.request import Abilities

INDEX = "model_index.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
"""diffusers' name of a LoRA's weights; the only safetensors file of a directory may have another name."""

FAMILIES: Mapping[str, Abilities] = {
    "StableDiffusionPipeline": Abilities(side=512, steps=25, guidance=7.5),
    "StableDiffusionXLPipeline": Abilities(side=1024, steps=30, guidance=5.0),
    "StableDiffusion3Pipeline": Abilities(
        side=1024, side_step=16, schedulers=False, prompt_tokens=256, steps=28, guidance=4.5
    ),
    "FluxPipeline": Abilities(
        side=1024,
        side_step=16,
        negative_prompt=False,
        schedulers=False,
        prompt_tokens=512,
        steps=28,
        guidance=3.5,
    ),
}
"""The supported pipelines by diffusers' names, and their abilities.

SD3 and FLUX use flow matching, which the schedulers of the other two do not support.
"""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that are not loaded. The last two serve only the first, and picture prompts, which requests do not support.

The safety checker is omitted because the operator decides whether and how pictures are filtered, not the one
model family that has a filter. It takes 1.2 GB and blackens pictures by a single notion of indecency, and the client
would pay for them.
"""

_LIBRARIES = ("diffusers", "transformers")
_WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The content of a directory: the pipeline's class, diffusers' `variant`, and the weights in a fixed order.

    `encoders` are the transformers classes by part.
    """

    pipeline: str
    variant: str | None
    weights: tuple[Path, ...]
    encoders: Mapping[str, str]


def examine(model: Model) -> ModelFiles:
    """Examine a model's directory. Raises `Retry` with MODEL_UNAVAILABLE if it is missing or cannot be loaded."""
    index = _index(model)
    pipeline = str(index.get("_class_name"))
    if pipeline not in FAMILIES:
        raise _unavailable(
            model, f"its pipeline is {pipeline[:100]!r}, not one of {', '.join(sorted(FAMILIES))}"
        )
    found = {name: _weights(model, name) for name in sorted(_parts(model, index))}
    only_half = any(files and all(".fp16" in path.name for path in files) for files in found.values())
    weights = tuple(path for files in found.values() for path in _chosen(files, half=only_half))
    if not weights:
        raise _unavailable(model, "it has no weights")
    encoders = {
        name: index[name][1] for name, files in found.items() if files and index[name][0] == "transformers"
    }
    return ModelFiles(pipeline, "fp16" if only_half else None, weights, encoders)


def lora_file(lora: Model) -> Path:
    """Return the weights of a LoRA. Raises `Retry` with MODEL_UNAVAILABLE if they are missing."""
    named = lora.path / LORA_FILE
    if named.is_file():
        return named
    found = sorted(lora.path.glob("*.safetensors"))
    if len(found) != 1:
        raise _unavailable(lora, f"its directory has neither {LORA_FILE} nor one other safetensors file")
    return found[0]


def _index(model: Model) -> Mapping[str, Any]:
    try:
        index = json.loads((model.path / INDEX).read_bytes())
    except FileNotFoundError:
        raise Retry(
            f"The model {model.name!r} is not on this machine; download it with "
            f"'aitbc-agent models pull {model.name}'.",
            code=FailureCode.MODEL_UNAVAILABLE,
        ) from None
    except (OSError, ValueError) as error:
        raise _unavailable(model, f"its {INDEX} cannot be read") from error
    if not isinstance(index, dict):
        raise _unavailable(model, f"its {INDEX} is not an object")
    return index


def _parts(model: Model, index: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the parts to load, which are also their directories."""
    for name, value in index.items():
        if not isinstance(value, list) or name in UNUSED or value[:1] == [None]:
            continue
        if value[:1] not in [[library] for library in _LIBRARIES] or re.fullmatch(r"\w+", name) is None:
            raise _unavailable(model, f"its part {name[:100]!r} would run its own code")
        yield name


def _weights(model: Model, part: str) -> tuple[Path, ...]:
    directory = model.path / part
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    found = tuple(path for path in files if _WEIGHTS.fullmatch(path.name))
    if not found and any(path.suffix in _PICKLES for path in files):
        raise _unavailable(
            model,
            f"the weights of its part {part!r} are pickles, which can run code; get them as safetensors",
        )
    return found


def _chosen(files: tuple[Path, ...], *, half: bool) -> tuple[Path, ...]:
    """Return the weights of a part that diffusers reads: those in half precision only if requested and present."""
    halves = tuple(path for path in files if ".fp16" in path.name)
    return halves if half and halves else tuple(path for path in files if path not in halves)


def _unavailable(model: Model, reason: str) -> Retry:
    return Retry(f"The model {model.name!r} cannot be used: {reason}.", code=FailureCode.MODEL_UNAVAILABLE)
