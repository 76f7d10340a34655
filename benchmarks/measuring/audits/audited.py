"""Audits of honest and of lying miners by the comparers of pictures, videos, renderings and Python models.

Each case is one job and one audit of its result in this process. A liar's results and bill say what the client asked for; only its files,
or its work, are others.
"""

from __future__ import annotations

import ctypes
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil

from runners.api import Audited, Calibration, Device, Model, OutputFile, Result, Runner, Tools

LIMIT_SECONDS = 600.0
PR_SET_CHILD_SUBREAPER = 36
ORPHAN_SECONDS = 2.0
"""Time in which adopted processes end. Others, such as Python's own, go on."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One audit. `job` and `audit` are the processor seconds of the audited run, and of the audit."""

    service: str
    case: str
    honest: bool
    verdict: str
    distances: Mapping[str, float]
    where: str
    job: float
    audit: float


@dataclass(slots=True)
class RunFolder:
    """The context of runs without a host, each in directories of its own below `folder`."""

    folder: Path
    files: Mapping[str, Path]
    adapters: Mapping[str, Model] = field(default_factory=dict)
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = LIMIT_SECONDS
    seed: str | None = None
    max_units: Decimal | None = None
    cache_salt: str | None = None
    wants_evidence = True

    def __post_init__(self) -> None:
        for path in (self.output, self.work):
            path.mkdir(parents=True)

    @property
    def output(self) -> Path:
        """See `runners.api.Context`."""
        return self.folder / "output"

    @property
    def work(self) -> Path:
        """See `runners.api.Context`."""
        return self.folder / "work"

    def progress(self, percent: float | None, units: Decimal = Decimal(0)) -> None:
        """Do nothing, as the methods below: nobody follows the run."""

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """See `progress`."""

    def log(self, text: str, source: str = "runner") -> None:
        """See `progress`."""

    def checkpoint(self, file: OutputFile) -> None:
        """See `progress`."""

    def check(self) -> None:
        """See `progress`."""

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """See `progress`."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Runs jobs of one service and audits them. `inputs` are the job's files by field."""

    runner: Runner[Any]
    folder: Path
    inputs: Mapping[str, Path]
    calibrations: Sequence[Calibration] = ()

    def run(self, runner: Runner[Any] | None = None, **fields: Any) -> tuple[Any, Result, float]:
        """Perform a request, by another `runner` than the auditor's if given; return it, its result, and its processor seconds."""
        chosen = runner or self.runner
        request = chosen.definition.input_model.model_validate(fields)
        began = processor_seconds()
        result = chosen.run(request, RunFolder(self.folder / secrets.token_hex(8), self.inputs))
        return request, result, processor_seconds() - began

    def audit(
        self, case: str, request: Any, result: Result, job: float, *, honest: bool,
        files: Mapping[str, Path] | None = None, claims: Mapping[str, Any] | None = None,
    ) -> Checked:  # fmt: skip
        """Audit a result, with other `files` than those of the run, and other `claims` in the results, if given."""
        made = {file.name: file.path for file in _files(result.results)} if files is None else files
        device = self.runner.device
        predicate = {
            "job_id": "job_1", "miner_id": "miner_1", "fence": 1, "units": str(result.units),
            "device": {"kind": device.kind, "name": device.name},
        }  # fmt: skip
        audited = Audited(
            {**published(result.results), **(claims or {})}, {"subject": [], "predicate": predicate}, result.evidence,
            choice=secrets.token_hex(32), files=made, calibrations=self.calibrations,
        )  # fmt: skip
        folder = self.folder / secrets.token_hex(8)
        began = processor_seconds()
        found = self.runner.audit(request, audited, RunFolder(folder, self.inputs)).comparison
        seconds = processor_seconds() - began
        shutil.rmtree(folder)
        return Checked(
            self.runner.definition.service_id, case, honest, found.verdict, found.distances, found.where or found.reason, job,
            seconds,
        )  # fmt: skip


def video(
    folder: Path, clip: Path, calibrations: Sequence[Calibration] = (), **fields: Any
) -> Iterator[Checked]:
    """Audit transcodings of a clip to `fields`: by honest miners with other threads, presets and encodings, and by liars."""
    from runners.ffmpeg import FFmpegRunner  # noqa: PLC0415 - one service at a time

    tools = Tools(cache_dir=folder / "cache")
    bench = Bench(
        FFmpegRunner(tools, Device("cpu", "processor", threads=2)), folder, {"input_url": clip}, calibrations
    )
    given = {"input_url": "artifact:clip", **fields}
    for threads in (2, 1):
        miner = FFmpegRunner(tools, Device("cpu", "processor", threads=threads))
        request, result, job = bench.run(miner, **given)
        yield bench.audit(f"honest, {threads} threads", request, result, job, honest=True)
    request, result, job = bench.run(**given)
    name = result.results["file"].name
    rate = ["-b:v", fields["bitrate"]] if "bitrate" in fields else ["-crf", "23"]
    usual = ["-c:v", "libx264", "-preset", "medium", *rate]
    for case, honest, graph, options in (
        ("honest, preset fast", True, "null", ["-c:v", "libx264", "-preset", "fast", *rate]),
        ("honest, preset slow", True, "null", ["-c:v", "libx264", "-preset", "slow", *rate]),
        ("half resolution", False, "scale=iw/4*2:ih/4*2,scale=iw*2:ih*2", usual),
        ("box drawn", False, "drawbox=x=iw/4:y=ih/4:w=iw/5:h=ih/5:color=red:t=fill", usual),
        ("cropped frame", False, "crop=iw*0.9:ih*0.9,scale=iw/0.9:ih/0.9", usual),
        ("frames doubled", False, "select='not(mod(n,2))',fps=25", usual),
        ("CRF 40", False, "null", ["-c:v", "libx264", "-preset", "medium", "-crf", "40"]),
    ):
        target = folder / f"{secrets.token_hex(8)}.mp4"
        size = f"scale={result.results['width']}:{result.results['height']}"
        _ffmpeg(clip, target, "-vf", f"{graph},{size},setsar=1,format=yuv420p", *options, "-c:a", "aac")
        yield bench.audit(case, request, result, job, honest=honest, files={name: target})
    silent = folder / f"{secrets.token_hex(8)}.mp4"
    _ffmpeg(result.results["file"].path, silent, "-c:v", "copy", "-af", "volume=0", "-c:a", "aac")
    yield bench.audit("sound removed", request, result, job, honest=False, files={name: silent})


def pictures(
    folder: Path, model: Model, other: Model, calibrations: Sequence[Calibration] = (), steps: int = 20
) -> Iterator[Checked]:
    """Audit pictures of a model: by honest miners with other threads, and by liars, some of whom use the `other` model."""
    from PIL import Image  # noqa: PLC0415 - engines are optional

    from runners.stable_diffusion import StableDiffusionRunner  # noqa: PLC0415 - one service at a time

    tools = Tools(cache_dir=folder / "cache")

    def loaded(source: Model, threads: int = 2) -> StableDiffusionRunner:
        import torch  # noqa: PLC0415 - engines are optional

        runner = StableDiffusionRunner(tools, Device("cpu", "processor", threads=threads))
        torch.set_num_threads(threads)
        runner.load(replace(source, name=model.name))
        return runner

    asked = {
        "prompt": "a lighthouse at dusk",
        "model": model.name,
        "size": "128x128",
        "num_images": 2,
        "seed": 7,
    }
    auditor = loaded(model)
    bench = Bench(auditor, folder, {}, calibrations)
    request, honest, job = bench.run(**asked, steps=steps)
    yield bench.audit("honest", request, honest, job, honest=True)
    _, single, _ = bench.run(loaded(model, 1), **asked, steps=steps)
    yield bench.audit("honest, 1 thread", request, single, job, honest=True)
    claims = {"settings": published(honest.results)["settings"]}

    def lie(case: str, liar: StableDiffusionRunner, **changes: Any) -> Checked:
        _, made, _ = bench.run(liar, **{**asked, "steps": steps, **changes})
        return bench.audit(case, request, made, job, honest=False, claims=claims)

    yield lie("one step less", auditor, steps=steps - 1)
    yield lie("half of the steps", auditor, steps=steps // 2)
    yield lie("another prompt", auditor, prompt="a harbour at night")
    yield lie("another model", loaded(other))
    lossy = {}
    for file in honest.results["images"]:
        picture = Image.open(file.path)
        picture.save(folder / "lossy.jpeg", quality=75)
        lossy[file.name] = folder / f"lossy-{file.name}"
        Image.open(folder / "lossy.jpeg").save(lossy[file.name])
    yield bench.audit("recompressed as JPEG", request, honest, job, honest=False, files=lossy)


def rendering(folder: Path, calibrations: Sequence[Calibration] = ()) -> Iterator[Checked]:
    """Audit renderings of Blender's default scene."""
    from runners.blender import BlenderRunner  # noqa: PLC0415 - one service at a time

    tools = Tools(cache_dir=folder / "cache")
    benchmark = BlenderRunner.benchmark(tools, folder)
    assert benchmark is not None
    auditor = BlenderRunner(tools, Device("cpu", "processor", threads=2))
    bench = Bench(auditor, folder, benchmark.files, calibrations)
    given = {**benchmark.parameters, "samples": 32, "resolution_x": 640, "resolution_y": 360, "seed": 3}
    request, honest, job = bench.run(**given)
    yield bench.audit("honest", request, honest, job, honest=True)
    single = BlenderRunner(tools, Device("cpu", "processor", threads=1))
    yield bench.audit("honest, 1 thread", request, bench.run(single, **given)[1], job, honest=True)
    for case, changes in (
        ("one sample less", {"samples": 31}), ("half of the samples", {"samples": 16}), ("another seed", {"seed": 4}),
        ("another frame of the camera", {"resolution_x": 656}),
    ):  # fmt: skip
        _, made, _ = bench.run(**{**given, **changes})
        yield bench.audit(case, request, replace(made, units=honest.units), job, honest=False)


def python_models(folder: Path, calibrations: Sequence[Calibration] = ()) -> Iterator[Checked]:
    """Audit the results of a deterministic Python model, and of one that is not."""
    from runners.python_model import PythonModelRunner  # noqa: PLC0415 - one service at a time

    tools = Tools(cache_dir=folder / "cache")
    runner = PythonModelRunner(tools, Device("cpu", "processor", threads=2))
    for case, code in (("deterministic", "n * n"), ("random", "__import__('random').random()")):
        source = folder / f"{case}.py"
        source.write_text(f"def predict(input, n):\n    return {{'value': {code}}}\n", encoding="utf-8")
        bench = Bench(runner, folder, {"model.source": source}, calibrations)
        model = {"entrypoint": "model.py", "deterministic": True}
        request, result, job = bench.run(model=model, parameters={"n": 12})
        yield bench.audit(f"honest, {case}", request, result, job, honest=True)
        if case == "deterministic":
            yield bench.audit("wrong value", request, result, job, honest=False, claims={"value": 145})


def published(value: Any) -> Any:
    """Return results with files as the client sees them."""
    if isinstance(value, OutputFile):
        described = {"artifact_id": "sha256:0", "url": "", "media_type": value.media_type, "name": value.name}
        return {**described, "size": value.path.stat().st_size, **value.extra}
    if isinstance(value, Mapping):
        return {name: published(item) for name, item in value.items()}
    return [published(item) for item in value] if isinstance(value, (list, tuple)) else value


def _files(value: Any) -> Iterator[OutputFile]:
    if isinstance(value, OutputFile):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _files(item)


def adopt_orphans() -> None:
    """Become the parent of processes whose parents end before them: bwrap leaves those of its sandbox behind, with what they have used."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def processor_seconds() -> float:
    """Return the processor seconds of this process and of the programs that it has started and that have ended, after `adopt_orphans`."""
    while psutil.wait_procs(psutil.Process().children(), timeout=ORPHAN_SECONDS)[0]:
        pass  # those that ended may have left others
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _ffmpeg(source: Path, target: Path, *options: str) -> None:
    command: list[str | Path] = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", source, *options, target]
    subprocess.run(command, check=True, timeout=LIMIT_SECONDS)
