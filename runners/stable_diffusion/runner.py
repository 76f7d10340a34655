"""Image generation with diffusers: Stable Diffusion, FLUX, Qwen-Image, Z-Image and other families."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from runners.activity import working
from runners.api import (
    Audited,
    AuditResult,
    Benchmark,
    Comparison,
    Condition,
    Context,
    Fail,
    FailureCode,
    Model,
    OutputFile,
    Probe,
    Requirements,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    SoldUnit,
    Tools,
    judge,
)
from runners.audits import failed
from runners.extras import extra_command, has_modules, version_of
from runners.model_errors import not_loaded
from runners.own_run import OwnRun
from runners.sandbox import gpus
from runners.stable_diffusion.comparer import COMPARER, choose, distances, precision, settings_difference
from runners.stable_diffusion.control import control_files
from runners.stable_diffusion.files import examine, lora_file
from runners.stable_diffusion.form import FORM
from runners.stable_diffusion.images import composed, fitted, preview, read_image, read_mask, write_image
from runners.stable_diffusion.pipeline import DiffusionModel, Step, model_options
from runners.stable_diffusion.request import (
    DEFAULT_QUALITY,
    MAX_SEED,
    GenerateRequest,
    GenerateResult,
    GenerationSettings,
    ImageGeneration,
    Scheduler,
    adapters,
    decide,
    picture_size,
)
from runners.torch_memory import memory_faults, memory_peak, release_memory

if TYPE_CHECKING:
    from PIL import Image

PREVIEW_SECONDS = 1.0
"""Minimum time before a job's first preview and between two."""

PREVIEW_SHARE = 0.02
"""The largest share of a job's time that previews take, once the duration of one is known."""

_PACKAGES = {
    "diffusers": "diffusers",
    "torch": "torch",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "peft": "peft",
    "safetensors": "safetensors",
    "PIL": "pillow",
}
"""The modules that a run imports, and their packages."""

_QUANTIZATIONS = {"fp8": "torch", "gguf": "gguf", "nf4": "bitsandbytes"}
"""The forms of quantised weights, and the package that each needs."""


def _requested_units(parameters: Mapping[str, Any]) -> Decimal | None:
    """Return the megapixel-steps of a request that names its size and steps. A variation of a picture takes fewer steps."""
    size, steps = parameters.get("size"), parameters.get("steps")
    if size is None or steps is None or parameters.get("image_url") is not None:
        return None
    width, _, height = size.partition("x")
    return Decimal(int(width) * int(height) * steps * parameters.get("num_images", 1)) / 1_000_000


DEFINITION = ServiceDefinition(
    service_id="image_generation",
    name="Image generation",
    category="image",
    description="Makes pictures from your words, or changes a picture of yours, with open models such as Stable Diffusion and FLUX.",
    tags=(
        "stable-diffusion",
        "sdxl",
        "flux",
        "qwen-image",
        "z-image",
        "image",
        "text-to-image",
        "image-to-image",
        "inpainting",
        "lora",
        "controlnet",
    ),
    unit="megapixel-step",
    sale_units=(SoldUnit("picture", "pictures", Decimal("20.97152"), "of 1024x1024 at 20 steps"),),
    determinism="The same seed gives the same pixels on the same device; between kinds of devices they differ slightly.",
    input_model=GenerateRequest,
    form=FORM,
    output_model=GenerateResult,
    requirements=Requirements(gpu="optional", vram=2 * 2**30, memory=2 * 2**30, disk=2 * 2**30),
    route="stable-diffusion/generate",
    model_field="model",
    adapters=adapters,
    size=picture_size,
    title=lambda request, _: request["prompt"],
    units=_requested_units,
    comparer=COMPARER,
)


class StableDiffusionRunner(Runner[GenerateRequest]):
    """Performs `image_generation`. Pictures of a job are generated one after the other, so that each can be reproduced alone."""

    definition = DEFINITION
    name = "stable-diffusion"
    version = "0.3.0"

    _loaded: DiffusionModel | None = None
    _model: Model | None = None
    _adapter_files: tuple[Path, ...] = ()
    _preview_seconds: float = 0.0
    """Duration of the loaded model's last preview."""

    @classmethod
    def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - it needs no program of the machine
        """See `Runner.probe`. Finds packages without importing them."""
        missing = [package for module, package in _PACKAGES.items() if not has_modules(module)]
        if missing:
            reason = f"These packages are missing: {', '.join(missing)}. Install them: {extra_command('stable-diffusion')}."
            return Probe(available=False, reasons=(reason,))
        quantizations = [name for name, package in _QUANTIZATIONS.items() if has_modules(package)]
        features = {"schedulers": list(get_args(Scheduler)), "quantizations": quantizations}
        return Probe(available=True, version=version_of("diffusers"), features=features)

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:  # noqa: ARG003 - it has no input files
        """See `Runner.benchmark`. Smaller without a GPU, where it would take minutes."""
        typical = {"prompt": "A lighthouse on a cliff at sunset, oil painting", "seed": 1, "num_images": 1}
        work = {"size": "512x512", "steps": 20} if gpus.present() else {"size": "256x256", "steps": 4}
        return Benchmark({**typical, **work}, metric="megapixel-step/s")

    def load(self, model: Model | None) -> None:
        """See `Runner.load`. Raises `Retry`: MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
        self.close()
        if model is None:
            return
        self._loaded = DiffusionModel(model, self.device, self.vram)
        self._model = model

    def run(self, request: GenerateRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` for parameters that the model does not support and for invalid pictures."""
        loaded = self._loaded
        if loaded is None or self._model is None or self._model.name != request.model:
            raise not_loaded(request.model)
        pictures = _read_pictures(request, context)
        options = loaded.options
        chosen = [_adapter(lora.name, context) for lora in request.loras]
        for adapter in chosen:
            options = options.changed_by(model_options(adapter))
        files = [lora_file(adapter) for adapter in chosen]
        control = None if request.control is None else control_files(_adapter(request.control.name, context))
        picture = pictures.get("image")
        size = None if picture is None else picture.size
        generation = decide(request, loaded.abilities, options, secrets.randbelow(MAX_SEED + 1), size)
        warnings = loaded.cut_prompts(request)
        context.log("\n".join((loaded.words(self.device), *warnings)), "diffusers")
        context.progress(0)
        context.check()
        pictures = {
            name: fitted(image, generation.width, generation.height) for name, image in pictures.items()
        }
        report = _StepReport(request, generation, context, self._preview_seconds)
        self._adapter_files = (*files, *(() if control is None else control.weights))
        images: list[OutputFile] = []
        loras = list(zip(request.loras, files, strict=True))
        with (
            working(context, self.device),
            loaded.adapted(loras),
            loaded.controlled(control),
            loaded.encoding_once(),
        ):
            for index in range(request.num_images):
                began = time.monotonic()
                with memory_faults():
                    drawn = loaded.draw(request, generation, generation.seed + index, pictures, report.step)
                if "mask_image" in pictures:
                    drawn = composed(drawn, pictures["image"], pictures["mask_image"])
                images.append(_write(drawn, index, request, generation, loaded, context.output))
                report.finish()
                context.log(
                    f"Image {index + 1} of {request.num_images}: seed {generation.seed + index}, {generation.steps_done} steps at "
                    f"{drawn.width}x{drawn.height} in {time.monotonic() - began:.1f} s.",
                    "diffusers",
                )
                self._preview_seconds = report.preview_seconds
        settings = loaded.settings(generation).model_dump(mode="json")
        results: dict[str, Any] = {"images": images, "settings": settings}
        if warnings:
            results["warnings"] = list(warnings)
        return Result(results, report.units)

    def audit(self, request: GenerateRequest, audited: Audited, context: Context) -> AuditResult:
        """See `Runner.audit`. Generates one of the pictures, which is the same as in its series."""
        chosen = choose(request, audited)
        if isinstance(chosen, Comparison):
            return AuditResult(chosen)
        # One of several pictures is as good a proof, at a fraction of the work.
        single = request.model_copy(update={"seed": chosen.image.seed, "num_images": 1})
        mine = self.run(single, OwnRun(context))
        settings = GenerationSettings.model_validate(mine.results["settings"])
        if (verdict := settings_difference(request, audited, settings)) is not None:
            return AuditResult(verdict, mine.units)
        position = f"image {chosen.number}"
        try:
            audited_picture = read_image(chosen.file, position)
        except Fail as error:
            return AuditResult(failed(position, str(error)), mine.units)
        picture = read_image(mine.results["images"][0].path, position)
        # The results state sizes that were checked before; this is what the file really has.
        if audited_picture.size != picture.size:
            reason = f"The picture is {audited_picture.size} instead of {picture.size}."
            return AuditResult(failed(position, reason), mine.units)
        measured, tile = distances(picture, audited_picture)
        stated = GenerationSettings.model_validate(audited.results["settings"])
        calibration = audited.calibration(
            Condition("diffusers", precision(stated), audited.device),
            Condition("diffusers", precision(settings), self.device.category),
        )
        comparison = judge(measured, calibration, where=f"{position}, {tile}", of="the picture")
        return AuditResult(comparison, mine.units)

    def weights(self, model: Model) -> tuple[Path, ...]:
        """See `Runner.weights`: the model's safetensors, then those of the last run's LoRAs in its order and of its ControlNet."""
        if self._loaded is not None and self._model == model:
            return (*self._loaded.files.weights, *self._adapter_files)
        return examine(model).weights

    def vram_peak(self) -> int:
        """See `Runner.vram_peak`."""
        return memory_peak(self.device) if self._loaded is not None else 0

    def locked_memory(self) -> int:
        """See `Runner.locked_memory`."""
        return self._loaded.locked if self._loaded is not None else 0

    def engine_version(self) -> str:
        """See `Runner.engine_version`."""
        return version_of("diffusers")

    def close(self) -> None:
        """See `Runner.close`."""
        self._loaded = self._model = None
        self._adapter_files = ()
        self._preview_seconds = 0.0
        release_memory(self.device)


class _StepReport:
    """Reports the steps of a job's pictures to the job."""

    def __init__(
        self, request: GenerateRequest, generation: ImageGeneration, context: Context, preview_seconds: float
    ) -> None:
        self.preview_seconds = preview_seconds
        self._context = context
        self._count = request.num_images
        self._generation = generation
        self._finished = 0
        self._steps = 0
        self._steps_before = 0
        self._next_preview = time.monotonic() + self._preview_interval

    @property
    def _preview_interval(self) -> float:
        """Seconds before the next preview."""
        return max(PREVIEW_SECONDS, self.preview_seconds / PREVIEW_SHARE)

    @property
    def units(self) -> Decimal:
        """Megapixel-steps so far."""
        steps = self._steps_before + self._steps
        return Decimal(self._generation.width * self._generation.height * steps) / 1_000_000

    def step(self, step: Step) -> None:
        """Report a step. Raises `Cancelled`."""
        self._context.check()
        # PNDM evaluates the model once more than it has steps; the client pays only for the requested steps.
        self._steps = min(step.number, self._generation.steps_done)
        percent = 100 * (self._finished + step.number / step.total) / self._count
        self._context.progress(min(99.0, percent), self.units)
        began = time.monotonic()
        if step.number == step.total or began < self._next_preview:
            return
        sketch = step.sketch()
        if sketch is None:
            return
        ended = time.monotonic()
        self.preview_seconds = ended - began
        self._next_preview = ended + self._preview_interval
        data = {"media_type": "image/jpeg", "step": step.number, "steps": step.total}
        self._context.event("preview", {"image": preview(sketch), "image_index": self._finished, **data})

    def finish(self) -> None:
        """Record that a picture is written."""
        self._context.check()
        self._finished += 1
        self._steps_before, self._steps = self._steps_before + self._steps, 0


def _read_pictures(request: GenerateRequest, context: Context) -> Mapping[str, Image.Image]:
    """Return the input pictures by their names in diffusers."""
    if request.control_url is not None:
        return {"control_image": read_image(context.files["control_url"], "control_url")}
    if request.image_url is None:
        return {}
    picture = read_image(context.files["image_url"], "image_url")
    context.check()
    context.progress(0)
    if request.mask_url is None:
        return {"image": picture}
    mask = read_mask(context.files["mask_url"], picture.size, request.mask_region)
    return {"image": picture, "mask_image": mask}


def _adapter(name: str, context: Context) -> Model:
    adapter = context.adapters.get(name)
    if adapter is None:
        raise Retry(f"The adapter {name!r} is not on this machine.", code=FailureCode.MODEL_UNAVAILABLE)
    return adapter


def _write(
    image: Image.Image,
    index: int,
    request: GenerateRequest,
    generation: ImageGeneration,
    loaded: DiffusionModel,
    directory: Path,
) -> OutputFile:
    """Write a finished picture with its parameters; return the output file."""
    seed = generation.seed + index
    record = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "model": request.model,
        "width": image.width,
        "height": image.height,
        "seed": seed,
        **loaded.settings(generation).model_dump(mode="json"),
        "loras": [lora.model_dump() for lora in request.loras],
        "control": None if request.control is None else request.control.model_dump(),
    }
    form = request.output_format
    path = directory / f"image_{index}.{form}"
    write_image(image, path, form, request.quality or DEFAULT_QUALITY, record)
    extra = {"seed": seed, "width": image.width, "height": image.height}
    return OutputFile(path, f"image/{form}", path.name, extra)
