"""The checks of `gpu_check.py` that run engines, each in a runner's child process as in the miner."""

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
from gpu_check_report import Checks, Failed, Machine, NotChecked
from runners.api import Benchmark, Model, RunnerError
from runners.host.protocol import Done
from runners.sandbox import Sandbox, python_prefix
from runners.sandbox.watch import Ended, Limits

LACKING: Final = frozenset(
    {"HARDWARE_UNAVAILABLE", "GPU_UNAVAILABLE", "MODEL_UNAVAILABLE", "PROGRAM_MISSING"}
)
"""Error codes for something that a card or a machine lacks, which is not a failure."""

MIB: Final = 2**20
BUDGET: Final = 1024 * MIB
"""GPU memory that must suffice for a small pipeline, including CUDA's own half gigabyte."""
NO_BUDGET: Final = 8 * MIB
"""Too little memory to load or compute anything."""
MAKING_SECONDS: Final = 120.0
SCRIPTS: Final = Path(__file__).resolve().parents[1]
TOGETHER: Final = 8
TOKENS: Final = 64
RELEASE_SECONDS: Final = 10.0
RELEASE_SLACK: Final = 64 * MIB
"""Normal fluctuation of a whole card's used memory."""

CHECKS: Final = Checks()


def default_models() -> Path:
    """Return the agent's default models directory."""
    return platformdirs.user_cache_path("aitbc") / "models"


# Whisper ----------------------------------------------------------------------------------------------------------------


@CHECKS.add("whisper, openai-whisper", needs="device")
def _openai_whisper(machine: Machine) -> str:
    """Transcribes in half precision on a card; the text is correct."""
    return _transcribe(machine, "openai-whisper", "whisper")


@CHECKS.add("whisper, faster-whisper", needs="device")
def _faster_whisper(machine: Machine) -> str:
    return _transcribe(machine, "faster-whisper", "faster_whisper")


@CHECKS.add("whisper, onnx-asr", needs="device")
def _onnx_asr(machine: Machine) -> str:
    return _transcribe(machine, "onnx-asr", "onnx_asr")


def _transcribe(machine: Machine, engine: str, module: str) -> str:
    _need_module(module, engine)
    model = _whisper_model(machine, engine)
    with _measured("whisper_transcription", machine) as (child, benchmark):
        child.load(model)
        parameters = {**benchmark.parameters, "model": model.name, "engine": engine}
        child.run(parameters, benchmark.files)  # to warm up
        done = child.run(parameters, benchmark.files)
    spoken = {
        word.strip(".").lower()
        for word in importlib.import_module("runners.whisper.runner").BENCHMARK_TEXT.split()
    }
    transcribed = {word.strip(".,").lower() for word in done.results["text"].split()}
    if len(spoken & transcribed) < 0.9 * len(spoken):
        raise Failed(f"the transcript of {model.name} is wrong")
    return f"{model.name}: {float(done.units) / done.processing_time:.3g} audio second/s, {_peak(done)}"


def _whisper_model(machine: Machine, engine: str) -> Model:
    names = {"openai-whisper": "model.pt", "faster-whisper": "model.bin", "onnx-asr": "encoder-model.onnx"}
    name = names[engine]
    for path in sorted(machine.tools.models_dir.glob(f"*/{name}")):
        if name == "model.pt" or (path.parent / "config.json").is_file():
            return Model(path.parent.name, path.parent)
    raise NotChecked(f"no model for {engine} is in {machine.tools.models_dir}")


# Diffusion --------------------------------------------------------------------------------------------------------------


@CHECKS.add("diffusion", needs="device")
def _diffusion(machine: Machine) -> str:
    """Runs a complete pipeline with random weights in the precision that the runner selects for the card."""
    with _measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        child.load(model)
        _draw(machine, child, model)  # to warm up
        done = _draw(machine, child, model)
    return f"untrained: {float(done.units) / done.processing_time:.3g} megapixel-step/s, {_peak(done)}"


@CHECKS.add("diffusion, small budget", needs="card")
def _diffusion_budget(machine: Machine) -> str:
    """Runs the pipeline within a small budget of GPU memory; the runner must not exceed it."""
    with _measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        child.load(model, vram=BUDGET)
        done = _draw(machine, child, model)
    if done.vram > BUDGET:
        raise Failed(f"the budget of {BUDGET // MIB} MiB was exceeded: {done.vram // MIB} MiB")
    return f"{done.vram // MIB} of {BUDGET // MIB} MiB"


@CHECKS.add("out of memory becomes retry", needs="card")
def _out_of_memory(machine: Machine) -> str:
    """A model that does not fit fails with a machine fault and the runner's message; the child stays alive."""
    with _measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        try:
            child.load(model, vram=NO_BUDGET)
            _draw(machine, child, model)
        except ChildError as error:
            if (error.kind, error.code) != ("retry", "OUT_OF_MEMORY"):
                raise Failed(f"it ended as {error.kind}, {error}") from None
        else:
            raise Failed(f"a model was used within {NO_BUDGET // MIB} MiB")
        child.load(model)
        _draw(machine, child, model)
    return "retry with OUT_OF_MEMORY, then the same child worked without the limit"


@CHECKS.add("footprint is measured", needs="card")
def _footprint(machine: Machine) -> str:
    """The memory that a runner reports agrees with NVML's figure."""
    before = _used(machine)
    with _measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        child.load(model)
        done = _draw(machine, child, model)
        seen = _used(machine) - before
    if done.vram <= 0:
        raise Failed("the runner does not report its memory")
    if not 0.5 * seen <= done.vram <= 2 * seen:
        raise Failed(f"the runner reports {done.vram // MIB} MiB, NVML {seen // MIB} MiB")
    return f"the runner reports {done.vram // MIB} MiB, NVML {seen // MIB} MiB"


@CHECKS.add("memory is given back", needs="card")
def _release(machine: Machine) -> str:
    """After unloading, only CUDA's own memory is in use; after the end of the child, none."""
    before = _used(machine)
    with _measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        child.load(model)
        _draw(machine, child, model)
        loaded = _used(machine) - before
        child.unload()
        unloaded = _used(machine) - before
    end = time.monotonic() + RELEASE_SECONDS
    while (left := _used(machine) - before) > RELEASE_SLACK and time.monotonic() < end:
        time.sleep(0.1)
    if left > RELEASE_SLACK or unloaded > loaded:
        raise Failed(f"{loaded // MIB} MiB loaded, {unloaded // MIB} unloaded, {left // MIB} after the end")
    return f"{loaded // MIB} MiB loaded, {unloaded // MIB} unloaded, {max(0, left) // MIB} after the end"


def _draw(machine: Machine, child: Child, model: Model) -> Done:
    work = (
        {"size": "512x512", "steps": 20} if machine.device.kind == "cuda" else {"size": "128x128", "steps": 2}
    )
    return child.run({"prompt": "a lighthouse", "model": model.name, "seed": 1, **work})


def _untrained(machine: Machine) -> Model:
    return _made(machine, "untrained-diffusion", "untrained_diffusion.py", "make")


def _used(machine: Machine) -> int:
    """Return the used memory of the first card in bytes, as NVML reports it."""
    gpus = Gpus()
    try:
        card = next(card for card in gpus.snapshot() if card.uuid == machine.device.uuid)
        return card.memory_total - card.memory_free
    finally:
        gpus.close()


# Language models --------------------------------------------------------------------------------------------------------


@CHECKS.add("language model", needs="device")
def _language_model(machine: Machine) -> str:
    """Several concurrent requests in one child, which computes them as a batch."""
    return _answers(machine, _llama(machine))


@CHECKS.add("llama.cpp", needs="device")
def _llama_cpp(machine: Machine) -> str:
    """The same with the smallest GGUF model of the machine, whose layers llama.cpp puts onto the card."""
    _need_module("xllamacpp", "xllamacpp")
    files = sorted(machine.tools.models_dir.glob("*/*.gguf"), key=lambda file: file.stat().st_size)
    models = [Model(file.parent.name, file.parent) for file in files if "instruct" in file.parent.name]
    if not models:
        raise NotChecked(f"no GGUF model for chats is in {machine.tools.models_dir}")
    return _answers(machine, models[0])


def _answers(machine: Machine, model: Model) -> str:
    with _measured("llm_inference", machine) as (child, _):
        child.load(model)
        request = {"model": model.name, "prompt": "Once upon a time", "max_tokens": TOKENS, "temperature": 0}
        child.run(request)  # to warm up
        speeds = {}
        for number in (1, TOGETHER):
            began = time.monotonic()
            done = child.run_together([request] * number)
            speeds[number] = sum(float(item.units) for item in done) / (time.monotonic() - began)
    figures = ", ".join(f"{speed:.0f} token/s with {number} at once" for number, speed in speeds.items())
    return f"{model.name}: {figures}, {_peak(done[-1])}"


@CHECKS.add("vllm", needs="card")
def _vllm(machine: Machine) -> str:
    """The engine itself with the same model."""
    _need_module("vllm", "vllm")
    model = _llama(machine)
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


def _llama(machine: Machine) -> Model:
    """Return the machine's smallest model, or one with random weights."""
    owned = [
        path.parent
        for path in machine.tools.models_dir.glob("*/config.json")
        if "CausalLM" in path.read_text(encoding="utf-8")
    ]
    if owned:
        chosen = min(owned, key=lambda directory: sum(file.stat().st_size for file in directory.iterdir()))
        return Model(chosen.name, chosen)
    return _made(machine, "untrained-llama", "gpu/gpu_check_models.py", "tiny_llama")


# Video, images, untrusted programs --------------------------------------------------------------------------------------


def _encode(codec: str) -> Callable[[Machine], str]:
    def check(machine: Machine) -> str:
        """One clip through the runner on the card's encoder."""
        hardware = "required" if machine.device.kind == "cuda" else "auto"
        with _measured("video_transcoding", machine) as (child, benchmark):
            child.load(None)
            request = {**benchmark.parameters, "codec": codec, "hardware": hardware}
            done = child.run(request, benchmark.files)
        if done.results["codec"] != codec:
            raise Failed(f"the output has the codec {done.results['codec']}")
        return f"{float(benchmark.scale * done.units) / done.processing_time:.0f} fps at 720p"

    return check


for _codec in ("h264", "hevc", "av1"):
    CHECKS.add(f"nvenc {_codec}", needs="device")(_encode(_codec))


@CHECKS.add("video stays on the card", needs="card")
def _on_card(machine: Machine) -> str:
    """The card decodes, scales and encodes, and no picture travels to main memory: what the runner tries first."""
    clip = machine.directory / "card.mp4"
    source = ("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30:duration=10", "-pix_fmt", "yuv420p")
    _ffmpeg(machine, *source, "-c:v", "h264_nvenc", str(clip))
    decode = ("-hwaccel", "cuda", "-hwaccel_output_format", "cuda", "-i", str(clip))
    scaled = machine.directory / "scaled.mp4"
    began = time.monotonic()
    _ffmpeg(machine, *decode, "-vf", "scale_cuda=640:360", "-c:v", "h264_nvenc", str(scaled))
    return f"{300 / (time.monotonic() - began):.0f} fps from 720p to 360p"


def _ffmpeg(machine: Machine, *words: str) -> None:
    command = [machine.tools.ffmpeg, "-v", "error", "-nostdin", "-y", *words]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": machine.device.uuid or ""}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=MAKING_SECONDS, check=False
        )
    except FileNotFoundError:
        raise NotChecked(f"{machine.tools.ffmpeg} is not installed") from None
    if done.returncode != 0:
        raise Failed(done.stderr.strip()[-300:])


@CHECKS.add("blender", needs="device")
def _blender(machine: Machine) -> str:
    """Cycles on OptiX or CUDA, if this build of Blender supports either; Debian's does not."""
    devices = find("blender_rendering").probe(machine.tools).features.get("devices", [])
    with _measured("blender_rendering", machine) as (child, benchmark):
        child.load(None)
        device = "gpu" if machine.device.kind == "cuda" else "cpu"
        done = child.run({**benchmark.parameters, "device": device}, benchmark.files)
    speed = float(done.units) / done.processing_time
    return f"{speed:.3g} megapixel-sample/s; this build has {', '.join(devices)}"


@CHECKS.add("python model, cuda driver", needs="card")
def _python_model(machine: Machine) -> str:
    """A client's model can use the card from inside the sandbox, and sees no other card."""
    source = machine.directory / "model.py"
    source.write_text(
        "import ctypes\n\n"
        "def predict(input, **parameters):\n"
        "    cuda, count = ctypes.CDLL('libcuda.so.1'), ctypes.c_int()\n"
        "    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))\n"
        "    return {'status': status, 'count': count.value}\n"
    )
    with _measured("ai_inference", machine) as (child, _):
        child.load(None)
        done = child.run({"model": {"entrypoint": "model.py"}}, {"model.source": source})
    if (done.results["status"], done.results["count"]) != (0, 1):
        raise Failed(
            f"cuInit returns {done.results['status']}, and {done.results['count']} cards are visible"
        )
    return f"one card is visible; {float(done.units):.2f} seconds metered"


@CHECKS.add("torch in the sandbox", needs="device")
def _torch_in_sandbox(machine: Machine) -> str:
    """A client's model that requires torch computes on the card inside the sandbox."""
    _need_module("torch", "torch")
    limits = Limits(memory=machine.tools.max_memory, output=MIB, seconds=120, cpu_seconds=480)
    sandbox = Sandbox(machine.tools, limits, machine.device)
    folders = [Path(entry).resolve() for entry in sys.path if entry.endswith("site-packages")]
    for folder in {python_prefix(), *folders}:
        if not folder.is_relative_to("/usr"):
            sandbox.read(folder, str(folder))
    code = f"import sys; sys.path += {[str(folder) for folder in folders]!r}; import torch; "
    code += f"print(torch.ones(8, device={machine.device.kind!r}).sum().item())"
    printed: list[str] = []
    outcome = sandbox.run([str(Path(sys.executable).resolve()), "-I", "-c", code], on_line=printed.append)
    if outcome.ended is not Ended.EXITED or outcome.exit_code != 0 or printed[-1:] != ["8.0"]:
        raise Failed(f"{outcome.ended}, status {outcome.exit_code}: {outcome.stderr.strip()[-300:]}")
    return "8 ones are 8"


# Shared functions --------------------------------------------------------------------------------------------------------


@contextmanager
def _measured(service: str, machine: Machine) -> Iterator[tuple[Child, Benchmark]]:
    """Start a child of a service with its runner's benchmark. Raises `NotChecked` if this machine or card lacks a requirement."""
    try:
        runner = find(service)
    except ImportError as error:
        raise NotChecked(f"the runner is not part of this checkout ({error})") from None
    probe = runner.probe(machine.tools)
    if not probe.available:
        raise NotChecked(" ".join(probe.reasons))
    directory = Path(machine.directory / f"{service}-{time.monotonic_ns()}")
    directory.mkdir()
    try:
        benchmark = runner.benchmark(machine.tools, directory)
    except RunnerError as error:
        raise NotChecked(str(error)) from None
    try:
        with Child(service, machine.device, machine.tools, directory) as child:
            yield child, benchmark or Benchmark({}, "")
    except ChildError as error:
        if error.code in LACKING:
            raise NotChecked(str(error)) from None
        raise Failed(str(error)) from None


def _made(machine: Machine, name: str, path: str, function: str) -> Model:
    """Create the model `name` with a function of another script, in a process that does not use the card."""
    directory = machine.directory / name
    if (directory / "made").is_file():
        return Model(name, directory)
    script = SCRIPTS / path
    if not script.is_file():
        raise NotChecked(f"scripts/{path}, which creates the model, is not part of this checkout")
    directory.mkdir(exist_ok=True)
    code = f"import pathlib, {script.stem}; {script.stem}.{function}(pathlib.Path({str(directory)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=script.parent,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=MAKING_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise NotChecked(f"the model cannot be created: {done.stderr.strip().splitlines()[-1:]}")
    (directory / "made").touch()
    return Model(name, directory)


def _need_module(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise NotChecked(f"{package} is not installed")


def _peak(done: Done) -> str:
    return f"peak {done.vram // MIB} MiB" if done.vram else "peak unknown"
