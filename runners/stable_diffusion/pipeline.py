"""A diffusion model in diffusers: loaded within a memory budget, with schedulers and LoRAs set for each run."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from runners import c_compiler
from runners.api import Device, Fail, FailureCode, Model, Retry
from runners.stable_diffusion.abilities import call_arguments, picture_arguments, read_abilities, views
from runners.stable_diffusion.control import ControlFiles, controlled_view
from runners.stable_diffusion.files import examine
from runners.stable_diffusion.latents import sketch
from runners.stable_diffusion.loading import load
from runners.stable_diffusion.memory import TILE_SIDE, available_memory, choose_savings, needs_tiling
from runners.stable_diffusion.placement import measure, move
from runners.stable_diffusion.request import (
    Attention,
    GenerateRequest,
    GenerationSettings,
    ImageGeneration,
    Lora,
    ModelOptions,
    Scheduler,
)
from runners.torch_memory import hold_budget, memory_faults
from runners.validation_errors import field_errors

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
"""Diffusers' class for each scheduler, and its settings in addition to the model's own schedule."""

_ATTENTION: Mapping[Attention, str] = {"cudnn": "_native_cudnn", "flash_3": "_flash_3"}
"""Diffusers' names of implementations of attention that have another name here."""


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
        self._name = model.name
        self.files = examine(model)
        self.options = model_options(model)
        self._available = available_memory(device, vram)
        hold_budget(device, vram)
        self._loaded = load(model, self.files, self.options, device)
        self._base = self._loaded.pipeline
        self._views = views(self._base)
        self._scheduler = self._base.scheduler
        self._denoiser = getattr(self._base, self.files.denoiser)
        self.abilities = read_abilities(self._views, self._denoiser, self.options)
        self._sizes = measure(self._base, self._loaded.quantization)
        self._savings = choose_savings(self._sizes, self.abilities.side**2, self._available)
        self._kind = device.kind
        self._attention: Attention = "native"
        self._compiled = False
        with memory_faults():
            self.locked = move(self._base, self._savings, device.kind)
        if device.kind == "cuda" and self.files.denoiser == "transformer":
            self._speed_up(model)

    def _speed_up(self, model: Model) -> None:
        """Choose the implementation of attention and compile the denoiser's blocks, as the model's options say."""
        lack = c_compiler.lack(sys.executable) if self.options.compile else None
        if lack is not None:
            raise Retry(
                f"The option compile of {model.name!r} needs {lack.what}. {lack.remedy} Or remove the option.",
                code=FailureCode.MODEL_UNAVAILABLE,
            )
        try:
            if self.options.attention is not None:
                name = self.options.attention
                self._denoiser.set_attention_backend(_ATTENTION.get(name, name))
                self._attention = name
            # Moving blocks between memories makes the compiler start again at each step.
            if self.options.compile and self._savings.placement != "blocks":
                self._denoiser.compile_repeated_blocks(fullgraph=True)
                self._compiled = True
        except Exception as error:
            # diffusers raises several kinds for missing packages and cards that are too old.
            raise Retry(
                f"The options of {model.name!r} do not suit this machine: {error}. Change or remove attention and compile."[
                    :500
                ],
                code=FailureCode.MODEL_UNAVAILABLE,
            ) from error

    def settings(self, generation: ImageGeneration) -> GenerationSettings:
        """Return what determines the pictures of a run."""
        return GenerationSettings(
            steps=generation.steps,
            guidance=generation.guidance,
            scheduler=generation.scheduler or type(self._scheduler).__name__,  # the model's own
            strength=generation.strength,
            precision=self._loaded.precision,
            quantization=self._loaded.quantization,
            cache=generation.cache,
            attention=self._attention,
            compiled=self._compiled,
        )

    def words(self, device: Device) -> str:
        """Return one sentence about the loaded model."""
        quantization = "" if self._loaded.quantization == "none" else f" ({self._loaded.quantization})"
        saving = "" if self._savings.placement == "whole" else ", in parts to save memory"
        return f"Model {self._name} in {self._loaded.precision}{quantization} on {device.words}{saving}."

    def cut_prompts(self, request: GenerateRequest) -> tuple[str, ...]:
        """Return a warning for each prompt that is too long for the model."""
        parts = ("tokenizer_3", "tokenizer_2", "tokenizer", "processor")
        readers = parts[2:] if self.abilities.prompt_tokens is None else parts
        tokenizer = next(
            reader for part in readers if (reader := getattr(self._base, part, None)) is not None
        )
        if hasattr(tokenizer, "image_processor"):  # one of texts and pictures
            tokenizer = tokenizer.tokenizer
        limit = self.abilities.prompt_tokens or int(tokenizer.model_max_length)
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
            # Also after a failure: the next run must get the model as it was.
            self._base.unload_lora_weights()

    def _attach(self, name: str, lora: Lora, path: Path) -> None:
        import safetensors  # noqa: PLC0415 - the coordinator imports this module without the engine

        try:
            # Read first, to distinguish a damaged file (the machine's fault) from a LoRA that does not fit (the client's).
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
        # diffusers ignores weights whose names it does not know, and may so have attached nothing.
        if not any(name in names for names in self._base.get_list_adapters().values()):
            raise misfit

    @contextmanager
    def controlled(self, control: ControlFiles | None) -> Iterator[None]:
        """Attach this ControlNet to the model within the block. Raises `Fail` if it does not fit the model, and `Retry`."""
        if control is None:
            yield
            return
        self._views["control"] = controlled_view(
            self._base, self._denoiser, control, self._base.dtype, self._kind
        )
        try:
            yield
        finally:
            del self._views["control"]

    @contextmanager
    def encoding_once(self) -> Iterator[None]:
        """Encode each prompt once within the block: the pictures of a request share it."""
        for view in self._views.values():
            view.encode_prompt = _encoding_each_text_once(view.encode_prompt)
        try:
            yield
        finally:
            for view in self._views.values():
                del view.encode_prompt  # the class's method again

    def draw(
        self,
        request: GenerateRequest,
        generation: ImageGeneration,
        seed: int,
        images: Mapping[str, Image.Image],
        on_step: Callable[[Step], None],
    ) -> Image.Image:
        """Generate one picture. `images` are `image`, `mask_image` and `control_image`, at the picture's size.

        `on_step` is called after each step; an exception in it ends the generation. Raises `Fail` if the scheduler does not
        support the number of steps, and `Retry` if the numbers overflow.
        """
        import torch  # noqa: PLC0415 - the coordinator imports this module without the engine

        kinds = {"control_image": "control", "mask_image": "mask", "image": "image"}
        view = self._views[next((kind for name, kind in kinds.items() if name in images), "text")]
        view.scheduler = self._new_scheduler(generation)
        view.set_progress_bar_config(disable=True)
        self._set_tiling(generation)
        try:
            with self._caching(generation):
                drawn = view(
                    **call_arguments(view, request, generation, self.abilities),
                    **picture_arguments(view, images),
                    # On the CPU for every device, so that a seed starts from the same noise everywhere.
                    generator=torch.Generator("cpu").manual_seed(seed),
                    callback_on_step_end=self._callback(generation, on_step),
                )
        finally:
            # Also after a cancellation, and for the other views, which share the parts but not the hooks.
            self._base.maybe_free_model_hooks()
        picture: Image.Image = drawn.images[0]
        return picture

    @contextmanager
    def _caching(self, generation: ImageGeneration) -> Iterator[None]:
        """Reuse results of the denoiser between steps within the block, which is one picture."""
        if generation.cache is None:
            yield
            return
        import diffusers  # noqa: PLC0415 - the coordinator imports this module without the engine

        self._denoiser.enable_cache(diffusers.FirstBlockCacheConfig(threshold=generation.cache))
        try:
            yield
        finally:
            self._denoiser.disable_cache()

    def _new_scheduler(self, generation: ImageGeneration) -> Any:
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

    def _set_tiling(self, generation: ImageGeneration) -> None:
        vae = self._base.vae
        pixels = generation.width * generation.height
        if not needs_tiling(self._savings, self._sizes, pixels, self._available):
            vae.disable_tiling()
            return
        vae.enable_tiling()
        if hasattr(vae, "tile_latent_min_size"):
            # By default a tile is as large as the model's own pictures, which would save nothing. Other decoders' are small.
            vae.tile_sample_min_size = TILE_SIDE
            vae.tile_latent_min_size = TILE_SIDE // self._base.vae_scale_factor

    def _callback(self, generation: ImageGeneration, on_step: Callable[[Step], None]) -> Any:
        def after_step(view: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            latents, total = tensors["latents"], int(view.num_timesteps)
            on_step(Step(min(index + 1, total), total, lambda: self._sketch(latents, generation)))
            if index + 1 == total and not bool(latents.isfinite().all()):
                raise Retry(  # of an extreme guidance or scale, perhaps
                    f"The model's numbers overflow in {self._base.dtype} on this machine.",
                    code=FailureCode.ENGINE_UNAVAILABLE,
                )
            return {}

        return after_step

    def _sketch(self, latents: Any, generation: ImageGeneration) -> Image.Image | None:
        """Return a small preview; None for a model whose parts take turns on the GPU, which would be exchanged twice for it."""
        if self._savings.placement == "parts":
            return None
        return sketch(self._base, latents, generation.height, generation.width)


def _encoding_each_text_once(encode: Callable[..., Any]) -> Callable[..., Any]:
    """Return a pipeline's `encode_prompt` that returns the same tensors for the same texts."""
    encoded_texts: dict[str, Any] = {}

    @functools.wraps(encode)
    def encode_once(*values: Any, **named: Any) -> Any:
        # The arguments include lists, which cannot be keys.
        key = repr((values, sorted(named.items())))
        if key not in encoded_texts:
            encoded_texts[key] = encode(*values, **named)
        return encoded_texts[key]

    return encode_once


def model_options(model: Model) -> ModelOptions:
    """Return the catalogue's options of a model or LoRA. Raises `Retry` with MODEL_UNAVAILABLE if they are invalid."""
    try:
        return ModelOptions.model_validate(dict(model.options))
    except ValidationError as error:
        field, sentence = next(iter(field_errors(error, model=ModelOptions).items()))
        raise Retry(
            f"The options of {model.name!r} in the catalogue are invalid at {field}: {sentence}",
            code=FailureCode.MODEL_UNAVAILABLE,
        ) from None
