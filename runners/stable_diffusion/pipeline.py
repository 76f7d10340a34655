"""A diffusion model in diffusers: loaded within a memory budget, with schedulers and LoRAs set for each run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from runners.api import Cancelled, Device, Fail, FailureCode, Model, Retry
from runners.stable_diffusion.files import FAMILIES, UNUSED, ModelFiles, examine
from runners.stable_diffusion.images import PREVIEW_SIDE
from runners.stable_diffusion.memory import (
    TILE_SIDE,
    available_memory,
    choose_savings,
    needs_tiling,
    precision,
)
from runners.stable_diffusion.request import (
    Abilities,
    GenerateRequest,
    Generation,
    Lora,
    ModelOptions,
    Scheduler,
)
from runners.torch_memory import hold_budget, memory_faults

if TYPE_CHECKING:
    from PIL import Image

_SDE = {"algorithm_type": "sde-dpmsolver++"}
_ODE = {"algorithm_type": "dpmsolver++"}
_SCHEDULERS: Mapping[Scheduler, tuple[str, Mapping[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {**_ODE, "use_karras_sigmas": False}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {**_ODE, "use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {**_SDE, "use_karras_sigmas": False}),
    "dpmpp_2m_sde_karras": ("DPMSolverMultistepScheduler", {**_SDE, "use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
"""Diffusers' class for each scheduler, and its settings beside the model's own schedule."""


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step: `number` of `total`, from 1. `sketch` returns a small preview, None if it cannot."""

    number: int
    total: int
    sketch: Callable[[], Image.Image | None]


class DiffusionModel:
    """A loaded model. Raises `Retry` if it cannot be loaded: MODEL_UNAVAILABLE, OUT_OF_MEMORY.

    `files` are the model's files, `options` those of the catalogue.
    """

    def __init__(self, model: Model, device: Device, vram: int | None) -> None:
        self.files = examine(model)
        self.options = model_options(model)
        self._available = available_memory(device, vram)
        hold_budget(device, vram)
        self._base = _read(model, self.files, device)
        self._scheduler = self._base.scheduler
        self.abilities = _abilities(self._base, FAMILIES[self.files.pipeline], self.options)
        self._parts = _sizes(self._base)
        self._savings = choose_savings(self._parts, self.abilities.side**2, self._available)
        self._kind = device.kind
        with memory_faults():
            self._move_to_device()

    def _move_to_device(self) -> None:
        import torch  # noqa: PLC0415 - the coordinator imports this module without the engine
        from diffusers.hooks.group_offloading import apply_group_offloading  # noqa: PLC0415 - as above

        match self._savings.placement:
            case "whole":
                self._base.to(self._kind)
            case "parts":
                self._base.enable_model_cpu_offload(device=self._kind)
            case "layers":
                for module in _modules(self._base):
                    apply_group_offloading(module, torch.device(self._kind), offload_type="leaf_level")

    def scheduler_name(self, scheduler: Scheduler | None) -> str:
        """Return the scheduler's name for a picture's record; None means the model's own."""
        return scheduler or type(self._scheduler).__name__

    def cut_prompts(self, request: GenerateRequest) -> tuple[str, ...]:
        """Return a warning for each prompt that is too long for the model."""
        limit = self.abilities.prompt_tokens
        parts = ("tokenizer",) if limit is None else ("tokenizer_3", "tokenizer_2", "tokenizer")
        tokenizer = next(found for part in parts if (found := getattr(self._base, part, None)) is not None)
        limit = limit or int(tokenizer.model_max_length)
        texts = {"prompt": request.prompt, "negative_prompt": request.negative_prompt or ""}
        counts = {field: len(tokenizer(text).input_ids) for field, text in texts.items()}
        return tuple(
            f"{field} has {count} tokens, of which the model reads the first {limit}."
            for field, count in counts.items()
            if count > limit
        )

    @contextmanager
    def adapted(self, loras: Sequence[tuple[Lora, Path]]) -> Iterator[None]:
        """Attach these LoRAs to the model within the block. Raises `Fail` if one does not fit the model."""
        if not loras:
            yield
            return
        scales = {f"lora{number}": lora.scale for number, (lora, _) in enumerate(loras)}
        try:
            for name, (lora, path) in zip(scales, loras, strict=True):
                self._attach(name, lora, path)
            self._base.set_adapters(list(scales), list(scales.values()))
            yield
        finally:
            self._base.unload_lora_weights()

    def _attach(self, name: str, lora: Lora, path: Path) -> None:
        import safetensors  # noqa: PLC0415 - the coordinator imports this module without the engine

        try:
            with safetensors.safe_open(path, framework="pt"):
                pass
        except (OSError, safetensors.SafetensorError) as error:
            raise Retry(
                f"The weights of the LoRA {lora.name!r} are damaged.", code=FailureCode.MODEL_UNAVAILABLE
            ) from error
        misfit = Fail(f"The LoRA {lora.name!r} was made for another model; omit it or choose its model.")
        try:
            with memory_faults():
                self._base.load_lora_weights(
                    str(path.parent),
                    weight_name=path.name,
                    adapter_name=name,
                    use_safetensors=True,
                    local_files_only=True,
                )
        except Retry:
            raise
        except Exception as error:  # diffusers and peft raise almost any exception for wrong names and shapes
            raise misfit from error
        if not any(name in names for names in self._base.get_list_adapters().values()):
            raise misfit

    def draw(
        self,
        request: GenerateRequest,
        generation: Generation,
        seed: int,
        images: Mapping[str, Image.Image],
        on_step: Callable[[Step], None],
    ) -> Image.Image:
        """Generate one picture. `images` are diffusers' arguments `image` and `mask_image`, at the picture's size.

        `on_step` is called after each step; an exception in it ends the generation. Raises `Fail` if the scheduler does not
        support the number of steps, and `Retry` if the numbers overflow.
        """
        import torch  # noqa: PLC0415 - the coordinator imports this module without the engine

        view = self._view(images)
        view.scheduler = self._new_scheduler(generation)
        view.set_progress_bar_config(disable=True)
        self._set_tiling(generation)
        try:
            drawn = view(
                **_arguments(view, request, generation, self.abilities),
                **images,
                # On the CPU for every device, so that a seed starts from the same noise everywhere.
                generator=torch.Generator("cpu").manual_seed(seed),
                callback_on_step_end=self._callback(generation, on_step),
            )
        finally:
            # Also after a cancellation, and for the other views, which share the parts but not the hooks.
            self._base.maybe_free_model_hooks()
        picture: Image.Image = drawn.images[0]
        return picture

    def _view(self, images: Mapping[str, Image.Image]) -> Any:
        """Return the pipeline for this kind of request, with the same parts."""
        import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

        if "mask_image" in images:
            return diffusers.AutoPipelineForInpainting.from_pipe(self._base)
        if images:
            return diffusers.AutoPipelineForImage2Image.from_pipe(self._base)
        return self._base

    def _new_scheduler(self, generation: Generation) -> Any:
        """Return a new scheduler for one picture, because its state must not influence the next one."""
        import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

        if generation.scheduler is None:
            return type(self._scheduler).from_config(self._scheduler.config)
        name, changes = _SCHEDULERS[generation.scheduler]
        scheduler = getattr(diffusers, name).from_config(self._scheduler.config, **changes)
        try:
            scheduler.set_timesteps(generation.steps)
        except ValueError as error:
            raise Fail(
                f"The scheduler {generation.scheduler!r} does not support {generation.steps} steps; request fewer."
            ) from error
        return scheduler

    def _set_tiling(self, generation: Generation) -> None:
        vae = self._base.vae
        pixels = generation.width * generation.height
        if not needs_tiling(self._savings, self._parts, pixels, self._available):
            vae.disable_tiling()
            return
        vae.enable_tiling()
        # By default a tile is as large as the model's own pictures, which would save nothing.
        vae.tile_sample_min_size = TILE_SIDE
        vae.tile_latent_min_size = TILE_SIDE // self._base.vae_scale_factor

    def _callback(self, generation: Generation, on_step: Callable[[Step], None]) -> Any:
        def after_step(view: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            latents, total = tensors["latents"], int(view.num_timesteps)
            on_step(Step(min(index + 1, total), total, lambda: self._sketch(latents, generation)))
            if index + 1 == total and not bool(latents.isfinite().all()):
                raise Retry(f"The model's numbers overflow in {self._base.dtype} on this machine.")
            return {}

        return after_step

    def _sketch(self, latents: Any, generation: Generation) -> Image.Image | None:
        """Return a small preview, decoded from downscaled latents; None if it is not possible.

        A model whose parts take turns on the GPU would have to exchange them twice for it.
        """
        import torch  # noqa: PLC0415 - the coordinator imports this module without the engine

        if self._savings.placement == "parts":
            return None
        vae, factor = self._base.vae, self._base.vae_scale_factor
        if latents.ndim == 3:  # noqa: PLR2004 - FLUX works on patches in a row: picture, patch, values
            latents = self._base._unpack_latents(latents, generation.height, generation.width, factor)  # noqa: SLF001 - there is no public method
        height, width = latents.shape[-2:]
        shrink = max(height, width) * factor / PREVIEW_SIDE
        if shrink > 1:
            size = max(1, round(height / shrink)), max(1, round(width / shrink))
            latents = torch.nn.functional.adaptive_avg_pool2d(latents, size)
        scaled = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        decoded = vae.decode(scaled.to(vae.dtype)).sample
        if not bool(decoded.isfinite().all()):
            return None
        picture: Image.Image = self._base.image_processor.postprocess(decoded, output_type="pil")[0]
        return picture


def model_options(model: Model) -> ModelOptions:
    """Return the catalogue's options of a model or LoRA. Raises `Retry` with MODEL_UNAVAILABLE if they are invalid."""
    try:
        return ModelOptions.model_validate(dict(model.options))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise Retry(
            f"The options of {model.name!r} in the catalogue are invalid at {field}: {first['msg']}",
            code=FailureCode.MODEL_UNAVAILABLE,
        ) from None


def _read(model: Model, files: ModelFiles, device: Device) -> Any:
    """Load the pipeline on the CPU: only safetensors, only from this directory, and only diffusers' own code."""
    import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine
    import torch  # noqa: PLC0415 - as above
    import transformers  # noqa: PLC0415 - as above

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()  # their warnings quote prompts
        library.utils.logging.disable_progress_bar()
    torch.set_num_threads(max(1, device.threads))
    pipeline_class: Any = getattr(diffusers, files.pipeline)
    known = inspect.signature(pipeline_class.__init__).parameters
    omitted = {**dict.fromkeys(UNUSED), "requires_safety_checker": False}
    options = {"variant": files.variant, "use_safetensors": True, "local_files_only": True}
    number_type = getattr(torch, precision(device))
    with memory_faults():
        try:
            base = pipeline_class.from_pretrained(
                str(model.path),
                # The older name of `dtype`, which every version since 0.33 supports.
                torch_dtype=number_type,
                **options,
                **{name: value for name, value in omitted.items() if name in known},
                **_encoders(model, files, {**options, "dtype": number_type}),
            )
            _check_complete(base)
        except (MemoryError, Cancelled):
            raise
        except Exception as error:
            if "out of memory" in str(error).lower():
                raise
            # A damaged or foreign file makes the loaders raise almost any exception.
            raise Retry(
                f"The model {model.name!r} could not be loaded: {type(error).__name__}: {error}"[:500],
                code=FailureCode.MODEL_UNAVAILABLE,
            ) from error
    return base


def _check_complete(base: Any) -> None:
    """Raise `ValueError` if diffusers found no values for some weights."""
    if any(weight.is_meta for part in _modules(base) for weight in part.parameters()):
        raise ValueError("its files lack some of its weights")


def _encoders(model: Model, files: ModelFiles, options: Mapping[str, Any]) -> dict[str, Any]:
    """Load the pipeline's text encoders. Raises `ValueError` if weights are missing, which transformers would make up."""
    import transformers  # noqa: PLC0415 - the coordinator imports this module without the engine

    encoders = {}
    for part, name in files.encoders.items():
        encoders[part], report = getattr(transformers, name).from_pretrained(
            model.path / part, output_loading_info=True, **options
        )
        if report["missing_keys"]:
            raise ValueError(
                f"the files of its part {part!r} lack {len(report['missing_keys'])} of its weights"
            )
    return encoders


def _abilities(base: Any, family: Abilities, options: ModelOptions) -> Abilities:
    """Return the family's abilities with the size and guidance of the model's own files."""
    denoiser = getattr(base, "unet", None) or base.transformer
    sample = getattr(base, "default_sample_size", None) or denoiser.config.sample_size
    return replace(
        family,
        side=int(sample) * int(base.vae_scale_factor),
        guided=bool(getattr(denoiser.config, "guidance_embeds", True)),
        prompt_tokens=family.prompt_tokens and (options.prompt_tokens or family.prompt_tokens),
    )


def _sizes(base: Any) -> tuple[int, ...]:
    """Return the bytes of each part's loaded weights."""
    return tuple(
        sum(weight.numel() * weight.element_size() for weight in module.parameters())
        for module in _modules(base)
    )


def _modules(base: Any) -> list[Any]:
    """Return the parts of a pipeline that have weights."""
    return [part for part in base.components.values() if hasattr(part, "parameters")]


def _arguments(
    view: Any, request: GenerateRequest, generation: Generation, abilities: Abilities
) -> dict[str, Any]:
    """Return the arguments of a pipeline's call that this kind of pipeline supports."""
    optional = {
        "negative_prompt": request.negative_prompt or None,
        "width": generation.width,
        "height": generation.height,
        "strength": _strength(generation, abilities),
        "max_sequence_length": abilities.prompt_tokens,
    }
    known = inspect.signature(view.__call__).parameters
    return {
        "prompt": request.prompt,
        "num_inference_steps": generation.steps,
        "guidance_scale": generation.guidance,
        **{name: value for name, value in optional.items() if name in known and value is not None},
    }


def _strength(generation: Generation, abilities: Abilities) -> float | None:
    """Return the strength with which diffusers does the request's share of the steps, rounded down.

    Its flow-matching pipelines round up instead, and with few steps would ignore the input picture.
    """
    if generation.strength is None or abilities.schedulers:
        return generation.strength
    # Slightly less, so that an inexact quotient does not add a step.
    return (generation.steps_done - 0.001) / generation.steps
