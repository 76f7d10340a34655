"""ControlNets: networks that make the pictures of a model follow the structure of another picture (edges, depth, a pose)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.api import Fail, FailureCode, Model, Retry
from runners.model_errors import unusable
from runners.torch_memory import memory_faults

_CLASS = re.compile(r"([A-Z]\w{0,60})?ControlNetModel")
_WEIGHTS = re.compile(r"diffusion_pytorch_model(\.fp16)?(-\d+-of-\d+)?\.safetensors")
_DENOISERS = {"": "UNet2DConditionModel"}
"""The denoiser's class for a ControlNet's prefix, where it is not "PREFIXTransformer2DModel"."""

_WIDTHS = ("cross_attention_dim", "joint_attention_dim", "in_channels")
"""Settings that a ControlNet has in common with the denoiser that it was made for."""


@dataclass(frozen=True, slots=True)
class ControlFiles:
    """The content of a ControlNet's directory: its class in diffusers, diffusers' `variant`, and the weights."""

    directory: Path
    name: str
    variant: str | None
    weights: tuple[Path, ...]


def control_files(control: Model) -> ControlFiles:
    """Examine a ControlNet's directory. Raises `Retry` with MODEL_UNAVAILABLE if it is missing or cannot be loaded."""
    try:
        configuration = json.loads((control.path / "config.json").read_bytes())
        name = str(configuration["_class_name"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise unusable(control.name, "its config.json is missing or cannot be read", "ControlNet") from error
    if _CLASS.fullmatch(name) is None:
        raise unusable(control.name, f"it is a {name[:60]!r}, not a ControlNet of diffusers", "ControlNet")
    weights = sorted(path for path in control.path.iterdir() if _WEIGHTS.fullmatch(path.name))
    full = tuple(path for path in weights if ".fp16" not in path.name)
    if not weights:
        raise unusable(control.name, "it has no weights as safetensors", "ControlNet")
    return ControlFiles(control.path, name, None if full else "fp16", full or tuple(weights))


def controlled_view(base: Any, denoiser: Any, files: ControlFiles, number_type: Any, kind: str) -> Any:
    """Return a pipeline with the parts of `base` and this ControlNet, on a device of this kind.

    Raises `Fail` if the ControlNet was made for another model, `Retry` if it is damaged or does not fit into memory.
    """
    import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

    misfit = Fail(
        "The ControlNet was made for another model; omit control and control_url or choose its model."
    )
    prefix = files.name.removesuffix("ControlNetModel")
    if type(denoiser).__name__ != _DENOISERS.get(prefix, f"{prefix}Transformer2DModel"):
        raise misfit
    with memory_faults():
        try:
            network = getattr(diffusers, files.name).from_pretrained(
                str(files.directory),
                torch_dtype=number_type,
                variant=files.variant,
                use_safetensors=True,
                local_files_only=True,
            )
        except Exception as error:
            if "out of memory" in str(error).lower():
                raise
            raise Retry(
                f"The ControlNet could not be loaded: {type(error).__name__}: {error}"[:300],
                code=FailureCode.MODEL_UNAVAILABLE,
            ) from error
        # The class alone says little: Stable Diffusion 1, 2 and XL have the same.
        widths = {name: network.config.get(name) for name in _WIDTHS}
        if any(width not in (None, denoiser.config.get(name)) for name, width in widths.items()):
            raise misfit
        network.to(kind)
    return diffusers.AutoPipelineForText2Image.from_pipe(base, controlnet=network)
