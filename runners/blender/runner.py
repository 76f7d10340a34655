"""Rendering with Blender: frames of a scene, on OptiX or CUDA if the build and the card support it, and videos of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import (
    Audited,
    AuditResult,
    Benchmark,
    Checkpoints,
    Comparison,
    Condition,
    Context,
    Device,
    Model,
    Probe,
    Requirements,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    SoldUnit,
    TimedOut,
    Tools,
)
from runners.blender import kernels
from runners.blender.comparer import COMPARER, choose, differences, release, verdict
from runners.blender.engine import chosen
from runners.blender.form import FORM
from runners.blender.process import (
    CHECKPOINTS,
    OUTPUT,
    Message,
    abilities,
    check_magic,
    eevee_works,
    explain_end,
    explain_refusal,
    prepare_kernels,
    run_blender,
    save_default_scene,
)
from runners.blender.rendering import Rendering, frame_name
from runners.blender.request import FRAME_FILES, MAX_PIXELS, MAX_SAMPLES, RenderRequest, RenderResult
from runners.blender.video import make_video, video_encoder
from runners.own_run import OwnRun
from runners.sandbox import gpus, run_limits, unavailable
from runners.sandbox.watch import Limits, usual_processes


def _size(parameters: Mapping[str, Any]) -> str:
    """Return what determines the GPU memory: the scene and the size of its pictures."""
    scene = hashlib.sha256(str(parameters.get("blend_file_url")).encode()).hexdigest()[:16]
    width, height = parameters.get("resolution_x"), parameters.get("resolution_y")
    return f"{scene}/{width or ''}x{height or ''}"


def _needs(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the features that a request names. The file may need an engine that the request does not name."""
    engine = parameters.get("engine")
    needs = [("engines", engine)] if isinstance(engine, str) else []
    if parameters.get("denoise") is True:
        needs.append(("denoiser", "a denoiser"))
    if parameters.get("video") is True:
        needs.append(("video", "a video of the frames"))
    return needs


def _requested_units(parameters: Mapping[str, Any]) -> Decimal | None:
    """Return the megapixel-samples of a request that names the frames, their size and the samples."""
    width, height, samples = (parameters.get(name) for name in ("resolution_x", "resolution_y", "samples"))
    if width is None or height is None or samples is None:
        return None
    return Decimal(width * height * samples * len(parameters.get("frames") or (0,))) / 1_000_000


_PASSED_ON = {
    *("engine", "scene", "camera", "samples", "seed"),
    *("transparent", "denoise", "noise_threshold", "quality"),
}
"""Fields of a request that the script inside Blender knows by the same names."""

DEFINITION = ServiceDefinition(
    service_id="blender_rendering",
    name="Blender",
    category="rendering",
    description="Renders pictures or an animation from your Blender file. You see each frame as soon as it is done.",
    tags=("blender", "cycles", "eevee", "render", "3d", "animation", "optix"),
    unit="megapixel-sample",
    sale_units=(SoldUnit("frame", "frames", Decimal("265.4208"), "of 1920x1080 at 128 samples"),),
    determinism=(
        "Cycles on a processor gives the same pixels each time with the same version of Blender; GPUs and other versions "
        "differ by noise too small to see."
    ),
    input_model=RenderRequest,
    form=FORM,
    output_model=RenderResult,
    requirements=Requirements(gpu="optional", vram=2 * 2**30, memory=4 * 2**30, disk=2 * 2**30),
    route="blender/render",
    size=_size,
    needs=_needs,
    units=_requested_units,
    checkpoints=Checkpoints("frames", FRAME_FILES, outputs=True),
    comparer=COMPARER,
)


class BlenderRunner(Runner[RenderRequest]):
    """Performs `blender_rendering`. It has no models; each run is one process of Blender, and one of ffmpeg for a video."""

    definition = DEFINITION
    name = "blender"
    version = "0.2.0"
    sandboxed = True

    _version = ""

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        """See `Runner.probe`. Starts Blender once, and again on machines with an NVIDIA card to test EEVEE."""
        if (missing := _missing(tools)) is not None:
            return Probe(available=False, reasons=(missing,))
        # Whichever card it is: a build has kernels for all or for none.
        device = Device("cuda" if gpus.present() else "cpu", "any")
        try:
            blender = abilities(tools, device)
        except TimedOut:
            raise
        except Retry as error:
            reason = (
                f"{error} Run aitbc-agent engines install bpy, or set runners.blender to a working Blender."
            )
            return Probe(available=False, reasons=(reason,))
        eevee = eevee_works(tools, device)
        engines = ["cycles", "eevee"] if eevee else ["cycles"]
        reasons = [blender.hindrance] if blender.hindrance else []
        video = shutil.which(tools.ffmpeg) is not None
        if not video:
            reasons.append(
                "Videos of frames need ffmpeg; install it (apt-get install ffmpeg) or set runners.ffmpeg."
            )
        features = {
            "engines": engines,
            "devices": [*blender.backends, "CPU"],
            "denoiser": blender.denoiser,
            "video": video,
        }
        return Probe(
            available=True,
            version=".".join(map(str, blender.version)),
            reasons=tuple(reasons),
            features=features,
            undecided=eevee is None,
        )

    def load(self, model: Model | None) -> None:  # noqa: ARG002 - it has no models
        """See `Runner.load`: compiles the kernels for a new card, driver or Blender, for minutes if this build lacks them."""
        if self.device.kind == "cuda" and (backends := abilities(self.tools, self.device).backends):
            prepare_kernels(self.tools, self.device, backends[0])

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark | None:
        """See `Runner.benchmark`: Blender's default scene."""
        scene = directory / "default.blend"
        save_default_scene(tools, scene)
        parameters = {
            "blend_file_url": "https://example.com/default.blend",
            "engine": "cycles",
            "resolution_x": 960,
            "resolution_y": 540,
            "samples": 32,
            "denoise": False,
        }
        return Benchmark(parameters, "megapixel-sample/s", {"blend_file_url": scene})

    def run(self, request: RenderRequest, context: Context) -> Result:
        """See `Runner.run`.

        `Fail`: INPUT_INVALID, RENDER_FAILED, OUTPUT_TOO_LARGE, LIMIT_EXCEEDED, TIMEOUT. `Retry`: a fault or a missing feature of this machine.
        """
        began = time.monotonic()
        device, backend = self._device(request)
        # Before the rendering, which may take hours: without an encoder, another machine must do all of it.
        encoder = video_encoder(self.tools, device) if request.video else None
        rendering = self._render(request, context, device, backend)
        results = rendering.results()
        if encoder is not None:
            seconds = context.timeout_seconds - (time.monotonic() - began)
            fps = request.fps or rendering.fps
            results["video"] = make_video(
                self.tools, device, encoder, rendering.frames, fps, seconds, context, rendering.units
            )
        return Result(results, rendering.units, self._evidence(device, backend))

    def audit(self, request: RenderRequest, audited: Audited, context: Context) -> AuditResult:
        """See `Runner.audit`. Renders a tile of one frame again."""
        chosen = choose(request, audited)
        if isinstance(chosen, Comparison):
            return AuditResult(chosen)
        device, backend = self._device(request)
        single = request.model_copy(update={"frame": chosen.frame, "frames": None, "video": False})
        own_context = OwnRun(context)
        rendering = self._render(single, own_context, device, backend, chosen.tile)
        evidence = self._evidence(device, backend)
        conditions = [
            Condition("blender", release(stated), kind)
            for stated, kind in (
                (audited.evidence or {}, audited.device if chosen.on_gpu else "cpu"),
                (evidence, device.category),
            )
        ]
        pictures = rendering.frames[0].path, chosen.file
        measured = differences(self.tools, pictures, rendering.scene.region or (0, 0, 0, 0), context)
        comparison = verdict(
            request, rendering.scene, chosen, measured, audited, audited.calibration(*conditions)
        )
        return AuditResult(comparison, rendering.units)

    def _evidence(self, device: Device, backend: str | None) -> dict[str, str]:
        """Return what the pixels depend on besides the request."""
        self._version = ".".join(map(str, abilities(self.tools, device).version))
        return {"version": self._version, "backend": backend or "CPU"}

    def engine_version(self) -> str:
        """See `Runner.engine_version`."""
        return self._version

    def _render(
        self,
        request: RenderRequest,
        context: Context,
        device: Device,
        backend: str | None,
        tile: tuple[float, float] | None = None,
    ) -> Rendering:
        """Return a complete rendering; with a `tile` only of a part around it. Raises `Fail` or `Retry`."""
        began = time.monotonic()
        scene = context.files["blend_file_url"]
        check_magic(scene)
        job = self._job(request, context, device, backend, tile)
        rendering = Rendering(request, context, self.tools.max_output)
        rendering.scratch.mkdir()
        outcome = run_blender(
            self.tools,
            device,
            job,
            _limits(self.tools, device, context.timeout_seconds - (time.monotonic() - began)),
            backend=backend,
            scene=scene,
            output=rendering.scratch,
            checkpoints=next((path.parent for path in context.checkpoints.values()), None),
            kernels=self._kernels(context, backend),
            on_message=rendering.on_message,
            on_line=rendering.on_line,
            on_log=lambda text: context.log(text, "blender"),
            on_tick=rendering.on_tick,
            on_cancel=context.on_cancel,
        )
        # A cancelled run ends like a failed one, but is none.
        context.check()
        gpu = device.kind == "cuda"
        if (refusal := rendering.refusal) is not None:
            raise explain_refusal(refusal.message, refusal.fault, refusal.code, gpu=gpu)
        if not rendering.complete:
            raise explain_end(outcome, rendering.complaint, opened=rendering.opened, gpu=gpu)
        return rendering

    def _device(self, request: RenderRequest) -> tuple[Device, str | None]:
        """Return the device for a job, and Cycles' name of its kind of GPU, None on the processor."""
        if self.device.kind == "cuda" and request.device != "cpu":
            backends = abilities(self.tools, self.device).backends
            return self.device, backends[0] if backends else None
        threads = self.device.threads if self.device.kind == "cpu" else os.cpu_count() or 1
        return Device("cpu", self.device.name, threads=threads), None

    def _kernels(self, context: Context, backend: str | None) -> Path | None:
        """Return a copy of the cache of compiled kernels for one run; None on the processor."""
        if backend is None:
            return None
        version = abilities(self.tools, self.device).version
        cache = kernels.location(self.tools, self.device, version, backend)
        return kernels.copied(cache, context.work / "kernels")

    def _job(
        self,
        request: RenderRequest,
        context: Context,
        device: Device,
        backend: str | None,
        tile: tuple[float, float] | None,
    ) -> Message:
        """Return the instructions for the script inside Blender."""
        engines = ["cycles"]
        # The file may choose EEVEE itself, so the script needs to know even without a request for it.
        if request.engine != "cycles" and eevee_works(self.tools, device):
            engines.append("eevee")
        frames = request.chosen_frames
        finished = {
            frame: f"{CHECKPOINTS}/{path.name}"
            for frame in frames or ()
            if (path := context.checkpoints.get(frame_name(frame, request))) is not None
        }
        return {
            **request.model_dump(include=_PASSED_ON),
            "task": "render",
            "engines": engines,
            "gpu": backend is not None,
            "gpu_only": request.device == "gpu",
            "denoiser": abilities(self.tools, device).denoiser,
            "frames": frames,
            "tile": tile,
            "made": finished,
            "output": OUTPUT,
            "width": request.resolution_x,
            "height": request.resolution_y,
            "format": request.output_format,
            "depth": request.depth,
            "max_pixels": MAX_PIXELS,
            "max_samples": MAX_SAMPLES,
        }


def _limits(tools: Tools, device: Device, seconds: float) -> Limits:
    threads = max(1, device.threads)
    cpu_seconds = seconds * (threads + 1) * 2
    return run_limits(tools, seconds, cpu_seconds=cpu_seconds, processes=usual_processes() + 16 * threads)


def _missing(tools: Tools) -> str | None:
    """Return the first missing requirement as a sentence for the owner, None if nothing is missing."""
    if tools.sandbox == "off":
        return (
            "Scenes are untrusted files that can make Blender write anywhere, so it runs only in the sandbox; set "
            "runners.sandbox to 'auto'."
        )
    if shutil.which(name := chosen(tools)) is None:
        return (
            f"{name} was not found; run aitbc-agent engines install bpy, or install Blender (apt-get install blender, which renders "
            "on the CPU only), or set runners.blender to its path."
        )
    return unavailable(tools)
