"""Loads a pipeline on the CPU, quantised if the model's options or files say so.

Only safetensors and GGUF are read, only from the model's directory, and only diffusers' and transformers' own code runs.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runners.api import Device, Model
from runners.extras import has_modules
from runners.model_errors import unusable
from runners.stable_diffusion.files import UNUSED, ModelFiles
from runners.stable_diffusion.memory import precision
from runners.stable_diffusion.placement import modules
from runners.stable_diffusion.request import ModelOptions, Precision
from runners.torch_memory import loading_faults, memory_faults

_LARGE_ENCODERS = ("T5", "UMT5", "Mistral", "Qwen")
"""The beginnings of the names of encoders' classes with billions of parameters. CLIP's gain nothing from fewer bits."""


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A pipeline on the CPU. See `GenerationSettings` for `precision` and `quantization`."""

    pipeline: Any
    precision: Precision
    quantization: str


def load(model: Model, files: ModelFiles, options: ModelOptions, device: Device) -> LoadedPipeline:
    """Load a pipeline. Raises `Retry`: MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
    import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine
    import torch  # noqa: PLC0415 - as above
    import transformers  # noqa: PLC0415 - as above

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()  # their warnings quote prompts
        library.utils.logging.disable_progress_bar()
    torch.set_num_threads(max(1, device.threads))
    _check_loadable(model, files, options, device)
    number_type = precision(device)
    with memory_faults(), loading_faults(model):
        base = _assemble(model, files, options, getattr(torch, number_type))
        _check_complete(base)
    return LoadedPipeline(base, number_type, _quantization(getattr(base, files.denoiser), files, options))


def _check_loadable(model: Model, files: ModelFiles, options: ModelOptions, device: Device) -> None:
    """Raise `Retry` with MODEL_UNAVAILABLE before gigabytes are read if the model cannot work here."""
    from diffusers.pipelines.auto_pipeline import (  # noqa: PLC0415 - the coordinator imports this module without the engine
        AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
    )

    supported = {pipeline.__name__ for pipeline in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    reason = None
    if files.pipeline not in supported:
        reason = f"{files.pipeline} is not one of diffusers' pipelines that make pictures from text"
    elif files.gguf is not None and not has_modules("gguf"):
        reason = "its weights are GGUF; install the package gguf"
    elif files.gguf is not None and options.quantization is not None:
        reason = (
            f"its weights are GGUF already; remove quantization = {options.quantization!r} from its options"
        )
    elif options.quantization == "nf4" and device.kind != "cuda":
        reason = "nf4 needs an NVIDIA GPU; choose fp8, a GGUF model, or none"
    elif options.quantization == "nf4" and not has_modules("bitsandbytes"):
        reason = "nf4 needs the package bitsandbytes; install it, or choose fp8 or a GGUF model"
    if reason is not None:
        raise unusable(model.name, reason)


def _assemble(model: Model, files: ModelFiles, options: ModelOptions, number_type: Any) -> Any:
    import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine
    import torch  # noqa: PLC0415 - as above

    arguments = inspect.signature(getattr(diffusers, files.pipeline).__init__).parameters
    omitted = {**dict.fromkeys(UNUSED), "requires_safety_checker": False}
    common = {"variant": files.variant, "use_safetensors": True, "local_files_only": True}
    parts = {name: value for name, value in omitted.items() if name in arguments}
    parts |= _encoders(model, files, options, number_type, common)
    if files.gguf is not None or options.quantization == "nf4":
        parts[files.denoiser] = _quantised_denoiser(model, files, number_type, common)
    base = diffusers.AutoPipelineForText2Image.from_pretrained(
        str(model.path),
        # The older name of `dtype`, which every version since 0.37 supports.
        torch_dtype=number_type,
        trust_remote_code=False,
        **common,
        **parts,
    )
    if options.quantization == "fp8":
        # Stored in 8 bits, computed in 16: cards without 8-bit arithmetic save memory too.
        getattr(base, files.denoiser).enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=number_type
        )
    return base


def _quantised_denoiser(model: Model, files: ModelFiles, number_type: Any, common: Mapping[str, Any]) -> Any:
    """Return the denoiser from its GGUF file, or with its weights in nf4 on the GPU."""
    import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

    kind = getattr(diffusers, files.denoiser_class)
    if files.gguf is not None:
        return kind.from_single_file(
            str(files.gguf),
            config=str(model.path),
            subfolder=files.denoiser,
            quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=number_type),
            torch_dtype=number_type,
            local_files_only=True,
        )
    return kind.from_pretrained(
        model.path / files.denoiser,
        quantization_config=_nf4(diffusers.BitsAndBytesConfig, number_type),
        torch_dtype=number_type,
        **common,
    )


def _nf4(configuration: Any, number_type: Any) -> Any:
    return configuration(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=number_type)


def _encoders(
    model: Model, files: ModelFiles, options: ModelOptions, number_type: Any, common: Mapping[str, Any]
) -> dict[str, Any]:
    """Load the pipeline's text encoders. Raises `ValueError` if weights are missing, which transformers would make up."""
    import transformers  # noqa: PLC0415 - the coordinator imports this module without the engine

    encoders = {}
    for part, name in files.encoders.items():
        quantised = options.quantization == "nf4" and name.startswith(_LARGE_ENCODERS)
        form = (
            {"quantization_config": _nf4(transformers.BitsAndBytesConfig, number_type)} if quantised else {}
        )
        encoders[part], report = getattr(transformers, name).from_pretrained(
            model.path / part, output_loading_info=True, dtype=number_type, **common, **form
        )
        if report["missing_keys"]:
            raise ValueError(
                f"the files of its part {part!r} lack {len(report['missing_keys'])} of its weights"
            )
    return encoders


def _check_complete(base: Any) -> None:
    """Raise `ValueError` if diffusers found no values for some weights."""
    if any(weight.is_meta for part in modules(base).values() for weight in part.parameters()):
        raise ValueError("its files lack some of its weights")


def _quantization(denoiser: Any, files: ModelFiles, options: ModelOptions) -> str:
    """Return the form of the denoiser's weights as `GenerationSettings` names it."""
    if files.gguf is not None:
        types: Counter[str] = Counter()
        for weight in denoiser.parameters():
            if hasattr(weight, "quant_type"):
                types[weight.quant_type.name] += weight.numel()
        return f"gguf-{types.most_common(1)[0][0]}" if types else "gguf"
    if options.quantization is not None:
        return options.quantization
    published = getattr(denoiser.config, "quantization_config", None) or {}
    return str(published.get("quant_method", "none"))[:50]
