"""What a loaded pipeline supports, and the arguments of its calls.

Both are read from diffusers' signatures and the model's configuration, so that a new family needs no table here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from runners.stable_diffusion.request import Abilities, GenerateRequest, ImageGeneration, ModelOptions

NATIVE_SIDE = 1024
"""Pixels of a picture's side where neither the pipeline nor the model names it: all such families are made for a megapixel."""


def views(base: Any) -> dict[str, Any]:
    """Return the pipelines with the same parts by their input: "text", "image", "mask"; only those that the family has."""
    import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

    pipelines = {"text": base}
    kinds = {"image": diffusers.AutoPipelineForImage2Image, "mask": diffusers.AutoPipelineForInpainting}
    for name, kind in kinds.items():
        try:
            pipelines[name] = kind.from_pipe(base)
        except ValueError:  # the family has no such pipeline
            continue
    return pipelines


def read_abilities(pipelines: Mapping[str, Any], denoiser: Any, options: ModelOptions) -> Abilities:
    """Return the abilities of a model from its pipelines (see `views`)."""
    import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

    base = pipelines["text"]
    call = _parameters(base)
    weighed = _guidance_name(base)
    # Distilled models have learnt their guidance, and ignore the argument.
    free = hasattr(type(base), "do_classifier_free_guidance") and not base.config.get("is_distilled")
    tokens = call["max_sequence_length"].default if "max_sequence_length" in call else None
    return Abilities(
        side=_side(base, denoiser),
        side_step=_side_step(base, denoiser),
        # FLUX.1 weighs a negative prompt by another value than its guidance, at twice the work.
        negative_prompt="negative_prompt" in call
        and ("true_cfg_scale" not in call or weighed != "guidance_scale"),
        schedulers=diffusers.DDIMScheduler in base.scheduler.compatibles,
        guided=free or weighed == "true_cfg_scale" or bool(denoiser.config.get("guidance_embeds")),
        prompt_tokens=tokens and (options.prompt_tokens or tokens),
        steps=call["num_inference_steps"].default,
        guidance=call[weighed].default,
        variations="image" in pipelines,
        strength="image" in pipelines and "strength" in _parameters(pipelines["image"]),
        inpainting="mask" in pipelines,
        caching=isinstance(denoiser, diffusers.CacheMixin),
    )


def call_arguments(
    view: Any, request: GenerateRequest, generation: ImageGeneration, abilities: Abilities
) -> dict[str, Any]:
    """Return the arguments of a pipeline's call that this kind of pipeline supports."""
    weighed = _guidance_name(view)
    negative = request.negative_prompt or None
    if weighed == "true_cfg_scale" and generation.guidance > 1:
        negative = negative or " "  # without one, these pipelines ignore the guidance
    optional = {
        "negative_prompt": negative if abilities.negative_prompt else None,
        "width": generation.width,
        "height": generation.height,
        "strength": _strength(generation, abilities),
        "max_sequence_length": abilities.prompt_tokens,
    }
    supported = _parameters(view)
    if request.control is not None:
        optional["controlnet_conditioning_scale"] = request.control.scale
    return {
        "prompt": request.prompt,
        "num_inference_steps": generation.steps,
        weighed: generation.guidance,
        **{name: value for name, value in optional.items() if name in supported and value is not None},
    }


def picture_arguments(view: Any, images: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call that are pictures. Older pipelines have another name for the control picture."""
    renamed = "control_image" if "control_image" in _parameters(view) else "image"
    return {renamed if name == "control_image" else name: image for name, image in images.items()}


def _parameters(view: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(type(view).__call__).parameters


def _guidance_name(view: Any) -> str:
    """Return the argument that weighs the prompt: models without built-in guidance may have `guidance_scale` without a default."""
    call = _parameters(view)
    guidance = call.get("guidance_scale")
    return "guidance_scale" if guidance is not None and guidance.default is not None else "true_cfg_scale"


def _side(base: Any, denoiser: Any) -> int:
    sample = getattr(base, "default_sample_size", None) or denoiser.config.get("sample_size")
    return int(sample) * int(base.vae_scale_factor) if sample else NATIVE_SIDE


def _side_step(base: Any, denoiser: Any) -> int:
    """Return the pixels of which sides must be multiples: those of a latent value, times the latent values of a patch."""
    latent = int(base.vae_scale_factor)
    # Transformers cut latents into patches; a UNet has none.
    patch = denoiser.config.get("patch_size") or 1
    return max(int(base.image_processor.config.vae_scale_factor), latent * int(patch))


def _strength(generation: ImageGeneration, abilities: Abilities) -> float | None:
    """Return the strength with which diffusers does the request's share of the steps, rounded down.

    Its flow-matching pipelines round up instead, and with few steps would ignore the input picture.
    """
    if generation.strength is None or abilities.schedulers:
        return generation.strength
    # Slightly less, so that an inexact quotient does not add a step.
    return (generation.steps_done - 0.001) / generation.steps
