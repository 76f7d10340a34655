"""The files of a diffusion model and of a LoRA: which pipeline they are, and which of them hold the weights.

A model's directory comes from a stranger's repository. It may name code of its own and hold pickles, which run code
when they are read; neither is touched. What is loaded is decided here, without an engine.
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
"""The name that diffusers gives a LoRA's weights; a directory with one safetensors file may call it otherwise."""

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
"""The pipelines that are loaded, by diffusers' names, and what they can do as their makers trained them.

Those of SD3 and FLUX follow a flow: the schedulers of the other two do not fit them.
"""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that are not loaded. The last two serve the first and picture prompts, which no request can hold.

The safety checker is left out because whether pictures are filtered, and how, is the operator's decision and not that of
whichever model has a filter (only the first one has): it knows one notion of what is indecent, takes 1.2 GB, and turns
pictures black that it takes for it, for which the client would pay.
"""

_LIBRARIES = ("diffusers", "transformers")
_WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a directory holds: the pipeline's class, `variant` as diffusers calls it, the weights in a fixed order.

    `encoders` are the classes of transformers by the parts that they read.
    """

    pipeline: str
    variant: str | None
    weights: tuple[Path, ...]
    encoders: Mapping[str, str]


def examine(model: Model) -> ModelFiles:
    """Look at a model's directory. Raises `Retry` with MODEL_UNAVAILABLE if it is not there or not to be loaded."""
    index = _index(model)
    pipeline = str(index.get("_class_name"))
    if pipeline not in FAMILIES:
        raise _unavailable(
            model, f"its pipeline is {pipeline[:100]!r}, none of {', '.join(sorted(FAMILIES))}"
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
    """The weights of a LoRA. Raises `Retry` with MODEL_UNAVAILABLE if they are not there."""
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
            f"The model {model.name!r} is not on this machine; put it there with "
            f"'aitbc-agent models pull {model.name}'.",
            code=FailureCode.MODEL_UNAVAILABLE,
        ) from None
    except (OSError, ValueError) as error:
        raise _unavailable(model, f"its {INDEX} cannot be read") from error
    if not isinstance(index, dict):
        raise _unavailable(model, f"its {INDEX} is no object")
    return index


def _parts(model: Model, index: Mapping[str, Any]) -> Iterator[str]:
    """The names of the parts that are loaded, which are also their directories."""
    for name, value in index.items():
        if not isinstance(value, list) or name in UNUSED or value[:1] == [None]:
            continue
        if value[:1] not in [[library] for library in _LIBRARIES] or re.fullmatch(r"\w+", name) is None:
            raise _unavailable(model, f"its part {name[:100]!r} would run code of its own")
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
    """Those that diffusers reads of the weights of one part: the half precision ones only if asked for and there."""
    halves = tuple(path for path in files if ".fp16" in path.name)
    return halves if half and halves else tuple(path for path in files if path not in halves)


def _unavailable(model: Model, reason: str) -> Retry:
    return Retry(f"The model {model.name!r} cannot be used: {reason}.", code=FailureCode.MODEL_UNAVAILABLE)
