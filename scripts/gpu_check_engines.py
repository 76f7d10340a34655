"""The checks of `gpu_check.py` that run engines: each in a runner's child process, as the miner would."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs

from agent.miner.machine.gpus import Gpus
from gpu_check_child import Child, ChildError, find
from gpu_check_report import Checks, Failed, NotChecked, Place
from runners.api import Benchmark, Model, RunnerError
from runners.host.protocol import Done
from runners.sandbox import Sandbox, python_prefix
from runners.sandbox.watch import Ended, Limits

LACKING: Final = frozenset(
    {"HARDWARE_UNAVAILABLE", "GPU_UNAVAILABLE", "MODEL_UNAVAILABLE", "PROGRAM_MISSING"}
)
"""Codes by which a runner says that a card or a machine has not got something, which is no fault."""

MIB: Final = 2**20
BUDGET: Final = 1024 * MIB
"""GPU memory within which a small pipeline must work; CUDA's own half gigabyte is part of it."""
NO_BUDGET: Final = 8 * MIB
"""So little that nothing can be loaded or computed within it."""
MAKING_SECONDS: Final = 120.0
SCRIPTS: Final = Path(__file__).resolve().parent
TOGETHER: Final = 8
TOKENS: Final = 64
RELEASE_SECONDS: Final = 10.0
RELEASE_SLACK: Final = 64 * MIB
"""How much the figure of a whole card moves by itself."""

CHECKS: Final = Checks()


def default_models() -> Path:
    """Where the agent keeps models unless its settings say otherwise."""
    return platformdirs.user_cache_path("aitbc") / "models"


# Whisper ----------------------------------------------------------------------------------------------------------------


@CHECKS.add("whisper, openai-whisper", needs="device")
def _openai_whisper(place: Place) -> str:
    """Half precision on a card; the words come back."""
    return _transcribe(place, "openai-whisper", "whisper")


@CHECKS.add("whisper, faster-whisper", needs="device")
def _faster_whisper(place: Place) -> str:
    return _transcribe(place, "faster-whisper", "faster_whisper")


def _transcribe(place: Place, engine: str, module: str) -> str:
    _need_module(module, engine)
    model = _whisper_model(place, engine)
    with _measured("whisper_transcription", place) as (child, benchmark):
        child.load(model)
        parameters = {**benchmark.parameters, "model": model.name, "engine": engine}
        child.run(parameters, benchmark.files)  # to warm up
        done = child.run(parameters, benchmark.files)
    spoken = {
        word.strip(".").lower()
        for word in importlib.import_module("runners.whisper.runner").BENCHMARK_TEXT.split()
    }
    heard = {word.strip(".,").lower() for word in done.results["text"].split()}
    if len(spoken & heard) < 0.9 * len(spoken):
        raise Failed(f"{model.name} heard something else than was said")
    return f"{model.name}: {float(done.units) / done.processing_time:.3g} audio second/s, {_peak(done)}"


def _whisper_model(place: Place, engine: str) -> Model:
    name = "model.pt" if engine == "openai-whisper" else "model.bin"
    for path in sorted(place.tools.models_dir.glob(f"*/{name}")):
        if name == "model.pt" or (path.parent / "config.json").is_file():
            return Model(path.parent.name, path.parent)
    raise NotChecked(f"no Whisper model for {engine} is in {place.tools.models_dir}")


# Diffusion --------------------------------------------------------------------------------------------------------------


@CHECKS.add("diffusion", needs="device")
def _diffusion(place: Place) -> str:
    """A whole pipeline in the precision that the runner chooses for the card. Its weights are random."""
    with _measured("image_generation", place) as (child, _):
        model = _untrained(place)
        child.load(model)
        _draw(place, child, model)  # to warm up
        done = _draw(place, child, model)
    return f"untrained: {float(done.units) / done.processing_time:.3g} megapixel-step/s, {_peak(done)}"


@CHECKS.add("diffusion, small budget", needs="card")
def _diffusion_budget(place: Place) -> str:
    """The same within a small budget of GPU memory, to which the runner keeps whatever it must give up for it."""
    with _measured("image_generation", place) as (child, _):
        model = _untrained(place)
        child.load(model, vram=BUDGET)
        done = _draw(place, child, model)
    if done.vram > BUDGET:
        raise Failed(f"a budget of {BUDGET // MIB} MiB was passed: {done.vram // MIB} MiB")
    return f"{done.vram // MIB} of {BUDGET // MIB} MiB"


@CHECKS.add("out of memory becomes retry", needs="card")
def _out_of_memory(place: Place) -> str:
    """A model that does not fit is the machine's fault, told in the runner's words; the child lives on."""
    with _measured("image_generation", place) as (child, _):
        model = _untrained(place)
        try:
            child.load(model, vram=NO_BUDGET)
            _draw(place, child, model)
        except ChildError as error:
            if (error.kind, error.code) != ("retry", "OUT_OF_MEMORY"):
                raise Failed(f"it ended as {error.kind}, {error}") from None
        else:
            raise Failed(f"a model was used within {NO_BUDGET // MIB} MiB")
        child.load(model)
        _draw(place, child, model)
    return "retry with OUT_OF_MEMORY, then the same child worked without the limit"


@CHECKS.add("footprint is learned", needs="card")
def _footprint(place: Place) -> str:
    """What a runner says that it took is about what NVML saw it take."""
    before = _used(place)
    with _measured("image_generation", place) as (child, _):
        model = _untrained(place)
        child.load(model)
        done = _draw(place, child, model)
        seen = _used(place) - before
    if done.vram <= 0:
        raise Failed("the runner does not say what it took")
    if not 0.5 * seen <= done.vram <= 2 * seen:
        raise Failed(f"the runner says {done.vram // MIB} MiB, NVML {seen // MIB} MiB")
    return f"the runner says {done.vram // MIB} MiB, NVML {seen // MIB} MiB"


@CHECKS.add("memory is given back", needs="card")
def _release(place: Place) -> str:
    """After unloading only CUDA's own share is left, and after the end of the child nothing."""
    before = _used(place)
    with _measured("image_generation", place) as (child, _):
        model = _untrained(place)
        child.load(model)
        _draw(place, child, model)
        loaded = _used(place) - before
        child.unload()
        unloaded = _used(place) - before
    end = time.monotonic() + RELEASE_SECONDS
    while (left := _used(place) - before) > RELEASE_SLACK and time.monotonic() < end:
        time.sleep(0.1)
    if left > RELEASE_SLACK or unloaded > loaded:
        raise Failed(f"{loaded // MIB} MiB loaded, {unloaded // MIB} unloaded, {left // MIB} after the end")
    return f"{loaded // MIB} MiB loaded, {unloaded // MIB} unloaded, {max(0, left) // MIB} after the end"


def _draw(place: Place, child: Child, model: Model) -> Done:
    work = (
        {"size": "512x512", "steps": 20} if place.device.kind == "cuda" else {"size": "128x128", "steps": 2}
    )
    return child.run({"prompt": "a lighthouse", "model": model.name, "seed": 1, **work})


def _untrained(place: Place) -> Model:
    return _made(place, "untrained-diffusion", "untrained_diffusion", "make")


def _used(place: Place) -> int:
    """Bytes of the first card that anybody uses, as NVML sees it."""
    gpus = Gpus()
    try:
        card = next(card for card in gpus.snapshot() if card.uuid == place.device.uuid)
        return card.memory_total - card.memory_free
    finally:
        gpus.close()


# Language models --------------------------------------------------------------------------------------------------------


@CHECKS.add("language model", needs="device")
def _language_model(place: Place) -> str:
    """Several requests at the same time in one child, which computes them together."""
    with _measured("llm_inference", place) as (child, _):
        model = _llama(place)
        child.load(model)
        request = {"model": model.name, "prompt": "Once upon a time", "max_tokens": TOKENS, "temperature": 0}
        child.run(request)  # to warm up
        speeds = {}
        for number in (1, TOGETHER):
            began = time.monotonic()
            done = child.run_together([request] * number)
            speeds[number] = sum(float(item.units) for item in done) / (time.monotonic() - began)
    told = ", ".join(f"{speed:.0f} token/s with {number} at once" for number, speed in speeds.items())
    return f"{model.name}: {told}, {_peak(done[-1])}"


@CHECKS.add("vllm", needs="card")
def _vllm(place: Place) -> str:
    """The engine itself, on the same model."""
    _need_module("vllm", "vllm")
    model = _llama(place)
    program = (
        "import json, sys, time, vllm\n"
        "engine = vllm.LLM(sys.argv[1], dtype='bfloat16', gpu_memory_utilization=0.3, max_model_len=512)\n"
        "began = time.monotonic()\n"
        "made = engine.generate(['Once upon a time'] * 8, vllm.SamplingParams(max_tokens=64, ignore_eos=True))\n"
        "tokens = sum(len(one.outputs[0].token_ids) for one in made)\n"
        "print(json.dumps({'version': vllm.__version__, 'speed': tokens / (time.monotonic() - began)}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model.path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(done.stderr.strip()[-300:])
    answer = json.loads(done.stdout.splitlines()[-1])
    return f"vllm {answer['version']}: {answer['speed']:.0f} token/s with 8 at once"


def _llama(place: Place) -> Model:
    """A model of the machine's, the smallest of them, or one with random weights."""
    owned = [
        path.parent
        for path in place.tools.models_dir.glob("*/config.json")
        if "CausalLM" in path.read_text(encoding="utf-8")
    ]
    if owned:
        chosen = min(owned, key=lambda directory: sum(file.stat().st_size for file in directory.iterdir()))
        return Model(chosen.name, chosen)
    return _made(place, "untrained-llama", "gpu_check_models", "tiny_llama")


# Video, pictures, strangers' programs -----------------------------------------------------------------------------------


def _encode(codec: str) -> Callable[[Place], str]:
    def check(place: Place) -> str:
        """One clip through the runner on the card's encoder."""
        hardware = "required" if place.device.kind == "cuda" else "auto"
        with _measured("video_transcoding", place) as (child, benchmark):
            child.load(None)
            request = {**benchmark.parameters, "codec": codec, "hardware": hardware}
            done = child.run(request, benchmark.files)
        if done.results["codec"] != codec:
            raise Failed(f"{done.results['codec']} came out")
        return f"{float(benchmark.scale * done.units) / done.processing_time:.0f} fps at 720p"

    return check


for _codec in ("h264", "hevc", "av1"):
    CHECKS.add(f"nvenc {_codec}", needs="device")(_encode(_codec))


@CHECKS.add("blender", needs="device")
def _blender(place: Place) -> str:
    """Cycles on OptiX or CUDA, whichever this build of Blender has; Debian's has neither."""
    devices = find("blender_rendering").probe(place.tools).features.get("devices", [])
    with _measured("blender_rendering", place) as (child, benchmark):
        child.load(None)
        wanted = "gpu" if place.device.kind == "cuda" else "cpu"
        done = child.run({**benchmark.parameters, "device": wanted}, benchmark.files)
    speed = float(done.units) / done.processing_time
    return f"{speed:.3g} megapixel-sample/s; this build has {', '.join(devices)}"


@CHECKS.add("python model, cuda driver", needs="card")
def _python_model(place: Place) -> str:
    """A stranger's model reaches the card from inside the sandbox, and sees no other."""
    source = place.directory / "model.py"
    source.write_text(
        "import ctypes\n\n"
        "def predict(input, **parameters):\n"
        "    cuda, count = ctypes.CDLL('libcuda.so.1'), ctypes.c_int()\n"
        "    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))\n"
        "    return {'status': status, 'count': count.value}\n"
    )
    with _measured("ai_inference", place) as (child, _):
        child.load(None)
        done = child.run({"model": {"entrypoint": "model.py"}}, {"model.source": source})
    if (done.results["status"], done.results["count"]) != (0, 1):
        raise Failed(f"cuInit answers {done.results['status']}, and {done.results['count']} cards are seen")
    return f"one card is seen; {float(done.units):.2f} seconds metered"


@CHECKS.add("torch in the sandbox", needs="device")
def _torch_in_sandbox(place: Place) -> str:
    """What a stranger's model with torch among its requirements does: it computes on the card inside the sandbox."""
    _need_module("torch", "torch")
    limits = Limits(memory=place.tools.max_memory, output=MIB, seconds=120, cpu_seconds=480)
    sandbox = Sandbox(place.tools, limits, place.device)
    folders = [Path(entry).resolve() for entry in sys.path if entry.endswith("site-packages")]
    for folder in {python_prefix(), *folders}:
        if not folder.is_relative_to("/usr"):
            sandbox.read(folder, str(folder))
    code = f"import sys; sys.path += {[str(folder) for folder in folders]!r}; import torch; "
    code += f"print(torch.ones(8, device={place.device.kind!r}).sum().item())"
    said: list[str] = []
    outcome = sandbox.run([str(Path(sys.executable).resolve()), "-I", "-c", code], on_line=said.append)
    if outcome.ended is not Ended.EXITED or outcome.exit_code != 0 or said[-1:] != ["8.0"]:
        raise Failed(f"{outcome.ended}, status {outcome.exit_code}: {outcome.stderr.strip()[-300:]}")
    return "8 ones are 8"


# What they share --------------------------------------------------------------------------------------------------------


@contextmanager
def _measured(service: str, place: Place) -> Iterator[tuple[Child, Benchmark]]:
    """A child of a service, and its runner's own request. What this machine or card has not got is `NotChecked`."""
    try:
        runner = find(service)
    except ImportError as error:
        raise NotChecked(f"the runner is not part of this checkout ({error})") from None
    probe = runner.probe(place.tools)
    if not probe.available:
        raise NotChecked(" ".join(probe.reasons))
    directory = Path(place.directory / f"{service}-{time.monotonic_ns()}")
    directory.mkdir()
    try:
        benchmark = runner.benchmark(place.tools, directory)
    except RunnerError as error:
        raise NotChecked(str(error)) from None
    try:
        with Child(service, place.device, place.tools, directory) as child:
            yield child, benchmark or Benchmark({}, "")
    except ChildError as error:
        if error.code in LACKING:
            raise NotChecked(str(error)) from None
        raise Failed(str(error)) from None


def _made(place: Place, name: str, module: str, function: str) -> Model:
    """The model `name` that a function of a script beside this one makes, in a process that does not touch the card."""
    directory = place.directory / name
    if (directory / "made").is_file():
        return Model(name, directory)
    if not (SCRIPTS / f"{module}.py").is_file():
        raise NotChecked(f"scripts/{module}.py, which makes the model, is not part of this checkout")
    directory.mkdir(exist_ok=True)
    code = f"import pathlib, {module}; {module}.{function}(pathlib.Path({str(directory)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPTS,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=MAKING_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise NotChecked(f"the model cannot be made: {done.stderr.strip().splitlines()[-1:]}")
    (directory / "made").touch()
    return Model(name, directory)


def _need_module(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise NotChecked(f"{package} is not installed")


def _peak(done: Done) -> str:
    return f"peak {done.vram // MIB} MiB" if done.vram else "its peak is not told"
