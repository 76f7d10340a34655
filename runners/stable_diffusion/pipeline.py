"""A diffusion model in diffusers: loaded into the memory that it may take, with schedulers and LoRAs changed for a run."""

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
from runners.stable_diffusion.memory import TILE_SIDE, choose_savings, needs_tiling, precision, room
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
"""Diffusers' class for each scheduler, and what is set beside the model's own schedule."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step is done: `number` of `total`, from 1. `sketch` makes a small picture of how it looks, None if it cannot."""

    number: int
    total: int
    sketch: Callable[[], Image.Image | None]


class DiffusionModel:
    """A loaded model. Raises `Retry` if it cannot be loaded: MODEL_UNAVAILABLE, OUT_OF_MEMORY.

    `files` are those that it was read from, `options` the catalogue's.
    """

    def __init__(self, model: Model, device: Device, vram: int | None) -> None:
        self.files = examine(model)
        self.options = model_options(model)
        self._room = room(device, vram)
        hold_budget(device, vram)
        self._base = _read(model, self.files, device)
        self._scheduler = self._base.scheduler
        self.abilities = _abilities(self._base, FAMILIES[self.files.pipeline], self.options)
        self._parts = _sizes(self._base)
        self._savings = choose_savings(self._parts, self.abilities.side**2, self._room)
        self._kind = device.kind
        with memory_faults():
            self._place()

    def _place(self) -> None:
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
        """The scheduler's name as a record of the picture tells it; None is the model's own."""
        return scheduler or type(self._scheduler).__name__

    def cut_prompts(self, request: GenerateRequest) -> tuple[str, ...]:
        """A sentence for each prompt of which the model does not read the end."""
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
        """The model with these LoRAs; afterwards it is as before. Raises `Fail` if one does not fit."""
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
        misfit = Fail(f"The LoRA {lora.name!r} was made for another model; leave it out or choose its model.")
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
        except Exception as error:  # diffusers and peft raise almost anything at names and shapes that differ
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
        """Make one picture. `images` are diffusers' arguments `image` and `mask_image`, at the picture's size.

        `on_step` is called after each step; what it raises ends the work. Raises `Fail` for a scheduler that cannot do
        so few or so many steps, and `Retry` when the numbers overflow.
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
            # Also after a cancellation, and for the other views, which share the parts but not this duty.
            self._base.maybe_free_model_hooks()
        picture: Image.Image = drawn.images[0]
        return picture

    def _view(self, images: Mapping[str, Image.Image]) -> Any:
        """The pipeline for this kind of request, with the same parts."""
        import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

        if "mask_image" in images:
            return diffusers.AutoPipelineForInpainting.from_pipe(self._base)
        if images:
            return diffusers.AutoPipelineForImage2Image.from_pipe(self._base)
        return self._base

    def _new_scheduler(self, generation: Generation) -> Any:
        """A scheduler for one picture: it keeps state, which must not reach the next one."""
        import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

        if generation.scheduler is None:
            return type(self._scheduler).from_config(self._scheduler.config)
        name, changes = _SCHEDULERS[generation.scheduler]
        scheduler = getattr(diffusers, name).from_config(self._scheduler.config, **changes)
        try:
            scheduler.set_timesteps(generation.steps)
        except ValueError as error:
            raise Fail(
                f"The scheduler {generation.scheduler!r} cannot do {generation.steps} steps; ask for fewer."
            ) from error
        return scheduler

    def _set_tiling(self, generation: Generation) -> None:
        vae = self._base.vae
        pixels = generation.width * generation.height
        if not needs_tiling(self._savings, self._parts, pixels, self._room):
            vae.disable_tiling()
            return
        vae.enable_tiling()
        # Left alone, a tile is as large as the pictures that the model was made for, which would save nothing.
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
        """A small picture of unfinished latents, decoded after they were made small; None if there can be none.

        A model whose parts take turns on the GPU would have to change them for it twice.
        """
        import torch  # noqa: PLC0415 - the coordinator imports this module without the engine

        if self._savings.placement == "parts":
            return None
        vae, factor = self._base.vae, self._base.vae_scale_factor
        if latents.ndim == 3:  # noqa: PLR2004 - FLUX works on patches in a row: picture, patch, values
            latents = self._base._unpack_latents(latents, generation.height, generation.width, factor)  # noqa: SLF001 - there is no public way
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
    """The catalogue's options of a model or LoRA. Raises `Retry` with MODEL_UNAVAILABLE if they make no sense."""
    try:
        return ModelOptions.model_validate(dict(model.options))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise Retry(
            f"The options of {model.name!r} in the catalogue are wrong at {place}: {fault['msg']}",
            code=FailureCode.MODEL_UNAVAILABLE,
        ) from None


def _read(model: Model, files: ModelFiles, device: Device) -> Any:
    """The pipeline, on the CPU. Only safetensors, only from this directory, and no code but diffusers' own."""
    import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine
    import torch  # noqa: PLC0415 - as above
    import transformers  # noqa: PLC0415 - as above

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()  # their warnings quote prompts
        library.utils.logging.disable_progress_bar()
    torch.set_num_threads(max(1, device.threads))
    pipeline_class: Any = getattr(diffusers, files.pipeline)
    known = inspect.signature(pipeline_class.__init__).parameters
    left_out = {**dict.fromkeys(UNUSED), "requires_safety_checker": False}
    options = {"variant": files.variant, "use_safetensors": True, "local_files_only": True}
    number_type = getattr(torch, precision(device))
    with memory_faults():
        try:
            base = pipeline_class.from_pretrained(
                str(model.path),
                # The older name of `dtype`, which every version since 0.33 understands.
                torch_dtype=number_type,
                **options,
                **{name: value for name, value in left_out.items() if name in known},
                **_encoders(model, files, {**options, "dtype": number_type}),
            )
            _check_complete(base)
        except (MemoryError, Cancelled):
            raise
        except Exception as error:
            if "out of memory" in str(error).lower():
                raise
            # A damaged or foreign file makes the loaders raise almost anything.
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
    """The pipeline's text encoders. Raises `ValueError` if a file lacks weights: transformers alone makes them up."""
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
    """The family's abilities with what the model's own files say about its size and guidance."""
    denoiser = getattr(base, "unet", None) or base.transformer
    sample = getattr(base, "default_sample_size", None) or denoiser.config.sample_size
    return replace(
        family,
        side=int(sample) * int(base.vae_scale_factor),
        guided=bool(getattr(denoiser.config, "guidance_embeds", True)),
        prompt_tokens=family.prompt_tokens and (options.prompt_tokens or family.prompt_tokens),
    )


def _sizes(base: Any) -> tuple[int, ...]:
    """The bytes of each part's weights as they were loaded."""
    return tuple(
        sum(weight.numel() * weight.element_size() for weight in module.parameters())
        for module in _modules(base)
    )


def _modules(base: Any) -> list[Any]:
    """The parts of a pipeline that have weights."""
    return [part for part in base.components.values() if hasattr(part, "parameters")]


def _arguments(
    view: Any, request: GenerateRequest, generation: Generation, abilities: Abilities
) -> dict[str, Any]:
    """The arguments of a pipeline's call, as far as this kind of pipeline has them."""
    wanted = {
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
        **{name: value for name, value in wanted.items() if name in known and value is not None},
    }


def _strength(generation: Generation, abilities: Abilities) -> float | None:
    """The strength with which diffusers does as many of the steps as the request's strength says, rounded down.

    Its pipelines with a flow round up instead, and at few steps would not look at the input picture at all.
    """
    if generation.strength is None or abilities.schedulers:
        return generation.strength
    # A little less, so that an inexact quotient does not count as a step more.
    return (generation.steps_done - 0.001) / generation.steps
