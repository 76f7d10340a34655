"""The checks of `gpu_check.py` that run engines, each in a runner's child process as in the miner."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from agent.miner.machine.gpus import Gpus, is_slice
from gpu_check_child import Child, ChildError
from gpu_check_report import CHECKS, Failed, Machine, NotChecked, Part, last_line
from gpu_check_runner import measured
from runners.api import Device, Model
from runners.engine_server.llama import BUILDS
from runners.host.protocol import Done

MIB: Final = 2**20
BUDGET: Final = 1024 * MIB
"""GPU memory that must suffice for a small pipeline, including CUDA's own half gigabyte."""
NO_BUDGET: Final = 8 * MIB
"""Too little memory to load or compute anything."""
ALLOCATED: Final = 1024 * MIB
MAKING_SECONDS: Final = 300.0
PROGRAM_SECONDS: Final = 120.0
SCRIPTS: Final = Path(__file__).resolve().parents[1]
TOGETHER: Final = 8
TOKENS: Final = 64
DIFFUSERS: Final = ("torch", "diffusers", "transformers")
RELEASE_SECONDS: Final = 10.0
RELEASE_SLACK: Final = 64 * MIB
"""Normal fluctuation of a whole card's used memory."""


# torch -----------------------------------------------------------------------------------------------------------------


@CHECKS.add("torch", needs="card", part=Part.FACTS, seconds=20, modules=("torch",))
def _torch(machine: Machine) -> str:
    """The card computes the same as the processor, in each precision that the runners use."""
    answer = _torch_says(
        """
import json, torch
made = torch.randn(512, 512)
right = made @ made
wrong = []
for kind in (torch.float32, torch.float16, torch.bfloat16):
    got = (made.to('cuda', kind) @ made.to('cuda', kind)).float().cpu()
    if (got - right).abs().max() > 0.05 * right.abs().max():
        wrong.append(str(kind))
print(json.dumps({'wrong': wrong, 'capability': torch.cuda.get_device_capability(0)}))
""",
        machine.device,
    )
    if answer["wrong"]:
        raise Failed(f"the results of card and processor differ in {', '.join(answer['wrong'])}")
    return f"torch {answer['torch']}, CUDA {answer['cuda']}, compute capability {answer['capability']}"


@CHECKS.add("child bound by uuid", needs="card", part=Part.FACTS, seconds=20, modules=("torch",))
def _binding(machine: Machine) -> str:
    """The child process of a card sees only that card."""
    program = """
import json, torch
properties = torch.cuda.get_device_properties(0)
print(json.dumps({'count': torch.cuda.device_count(), 'uuid': str(getattr(properties, 'uuid', ''))}))
"""
    for device in machine.devices:
        answer = _torch_says(program, device)
        # CUDA may report the UUID of the whole card for a slice of it.
        uuid = "" if is_slice(device) else answer["uuid"]
        if answer["count"] != 1 or uuid not in (device.uuid or ""):
            raise Failed(
                f"a child for {device.uuid} sees {answer['count']} cards, the first {answer['uuid']}"
            )
    return f"{len(machine.devices)} of {len(machine.devices)} cards"


@CHECKS.add("killed program frees memory", needs="card", part=Part.FACTS, seconds=25, modules=("torch",))
def _killed(machine: Machine) -> str:
    """A program that is killed while it computes leaves nothing on the card; names the memory of CUDA itself."""
    before = _used(machine)
    code = f"import torch; a = torch.ones({ALLOCATED // 4}, device='cuda'); print('ready', flush=True)\nwhile True: a.mul_(1)"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": machine.device.uuid or ""}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None  # noqa: S101 - both are pipes
        assert program.stderr is not None  # noqa: S101
        if program.stdout.readline() != "ready\n":
            raise Failed(last_line(program.stderr.read()))
        context = _used(machine) - before - ALLOCATED
        program.kill()
        began = time.monotonic()
    left = _left(machine, before)
    if left > RELEASE_SLACK:
        raise Failed(f"{left // MIB} MiB are in use {RELEASE_SECONDS:.0f} s after the end")
    return (
        f"CUDA itself takes {context // MIB} MiB; all was free {time.monotonic() - began:.1f} s after the end"
    )


def _torch_says(program: str, device: Device) -> dict[str, Any]:
    """Run a program that sees only `device`. Returns the JSON that it prints and the versions of torch and its CUDA."""
    versions = (
        "import json, torch; print(json.dumps({'torch': torch.__version__, 'cuda': torch.version.cuda}))"
    )
    found = json.loads(_python(versions, device))
    if found["cuda"] is None:
        raise NotChecked(f"this torch ({found['torch']}) is built without CUDA; install a build with CUDA")
    return {**found, **json.loads(_python(program, device))}


def _python(program: str, device: Device) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": device.uuid or ""},
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(last_line(done.stderr))
    return done.stdout


# Language models --------------------------------------------------------------------------------------------------------


@CHECKS.add(
    "language model", needs="device", part=Part.ENGINES, seconds=30, modules=("torch", "transformers")
)
def _language_model(machine: Machine) -> str:
    """Several concurrent requests in one child, which computes them as a batch."""
    return _answers(machine, _llama(machine))


@CHECKS.add(
    "llama.cpp", needs="device", part=Part.LANGUAGE_AND_VIDEO, seconds=30, modules=(" or ".join(BUILDS),)
)
def _llama_cpp(machine: Machine) -> str:
    """The same with the smallest GGUF model of the machine, whose layers llama.cpp puts onto the card, or one with random weights."""
    files = [*machine.tools.models_dir.glob("*instruct*/*.gguf")]
    if not files:
        return _answers(machine, _made(machine, "untrained-gguf", "gpu/gpu_check_models.py", "tiny_gguf"))
    smallest = min(files, key=lambda file: file.stat().st_size).parent
    return _answers(machine, Model(smallest.name, smallest))


def _answers(machine: Machine, model: Model) -> str:
    with measured("llm_inference", machine) as (child, _):
        child.load(model)
        # As it is: llama.cpp refuses an answer of random tokens that is not in the form of a conversation.
        request = {
            "model": model.name,
            "prompt": "Once upon a time",
            "raw": True,
            "max_tokens": TOKENS,
            "temperature": 0,
        }
        child.run(request)  # to warm up
        speeds = {}
        for number in (1, TOGETHER):
            began = time.monotonic()
            done = child.run_together([request] * number)
            speeds[number] = sum(float(item.units) for item in done) / (time.monotonic() - began)
    figures = ", ".join(f"{speed:.0f} token/s with {number} at once" for number, speed in speeds.items())
    return f"{model.name}: {figures}, {_peak(done[-1])}"


@CHECKS.add("vllm", needs="card", part=Part.LONG, seconds=300, modules=("vllm",))
def _vllm(machine: Machine) -> str:
    """The same with vLLM, started by the runner: with the agent's flags, for one card."""
    return _answers(machine, _llama(machine))


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


# Diffusion --------------------------------------------------------------------------------------------------------------


@CHECKS.add("diffusion", needs="device", part=Part.ENGINES, seconds=30, modules=DIFFUSERS)
def _diffusion(machine: Machine) -> str:
    """Runs a complete pipeline with random weights in the precision that the runner selects for the card."""
    with measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        child.load(model)
        _draw(machine, child, model)  # to warm up
        done = _draw(machine, child, model)
    return f"untrained: {float(done.units) / done.processing_time:.3g} megapixel-step/s, {_peak(done)}"


@CHECKS.add("diffusion, small budget", needs="card", part=Part.ENGINES, seconds=25, modules=DIFFUSERS)
def _diffusion_budget(machine: Machine) -> str:
    """Runs the pipeline within a small budget of GPU memory; the runner must not exceed it."""
    with measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        child.load(model, vram=BUDGET)
        done = _draw(machine, child, model)
    if done.vram > BUDGET:
        raise Failed(f"the budget of {BUDGET // MIB} MiB was exceeded: {done.vram // MIB} MiB")
    return f"{done.vram // MIB} of {BUDGET // MIB} MiB"


@CHECKS.add("out of memory becomes retry", needs="card", part=Part.ENGINES, seconds=25, modules=DIFFUSERS)
def _out_of_memory(machine: Machine) -> str:
    """A model that does not fit fails with a machine fault and the runner's message; the child stays alive."""
    with measured("image_generation", machine) as (child, _):
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


@CHECKS.add("footprint is measured", needs="card", part=Part.ENGINES, seconds=25, modules=DIFFUSERS)
def _footprint(machine: Machine) -> str:
    """The memory that a runner reports agrees with NVML's figure."""
    before = _used(machine)
    with measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        child.load(model)
        done = _draw(machine, child, model)
        seen = _used(machine) - before
    if done.vram <= 0:
        raise Failed("the runner does not report its memory")
    if not 0.5 * seen <= done.vram <= 2 * seen:
        raise Failed(f"the runner reports {done.vram // MIB} MiB, NVML {seen // MIB} MiB")
    return f"the runner reports {done.vram // MIB} MiB, NVML {seen // MIB} MiB"


@CHECKS.add("memory is given back", needs="card", part=Part.ENGINES, seconds=25, modules=DIFFUSERS)
def _release(machine: Machine) -> str:
    """After unloading, only CUDA's own memory is in use; after the end of the child, none."""
    before = _used(machine)
    with measured("image_generation", machine) as (child, _):
        model = _untrained(machine)
        child.load(model)
        _draw(machine, child, model)
        loaded = _used(machine) - before
        child.unload()
        unloaded = _used(machine) - before
    left = _left(machine, before)
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


def _left(machine: Machine, before: int) -> int:
    """Return by how much more memory is in use than before, after waiting until that is next to nothing."""
    end = time.monotonic() + RELEASE_SECONDS
    while (left := _used(machine) - before) > RELEASE_SLACK and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _used(machine: Machine) -> int:
    """Return the used memory of the first card in bytes, as NVML reports it."""
    gpus = Gpus()
    try:
        card = next(card for card in gpus.snapshot() if card.uuid == machine.device.uuid)
        return card.memory_total - card.memory_free
    finally:
        gpus.close()


# Whisper ----------------------------------------------------------------------------------------------------------------


@CHECKS.add(
    "whisper, openai-whisper",
    needs="device",
    part=Part.ENGINES,
    seconds=30,
    modules=("whisper",),
    programs=("ffmpeg",),
    files=("*/model.pt",),
)
def _openai_whisper(machine: Machine) -> str:
    """Transcribes in half precision on a card; the text is correct."""
    return _transcribe(machine, "openai-whisper", "*/model.pt")


@CHECKS.add(
    "whisper, faster-whisper",
    needs="device",
    part=Part.ENGINES,
    seconds=30,
    modules=("faster_whisper",),
    programs=("ffmpeg",),
    files=("*/model.bin",),
)
def _faster_whisper(machine: Machine) -> str:
    return _transcribe(machine, "faster-whisper", "*/model.bin")


@CHECKS.add(
    "whisper, onnx-asr",
    needs="device",
    part=Part.ENGINES,
    seconds=30,
    modules=("onnx_asr",),
    programs=("ffmpeg",),
    files=("*/encoder-model.onnx",),
)
def _onnx_asr(machine: Machine) -> str:
    return _transcribe(machine, "onnx-asr", "*/encoder-model.onnx")


def _transcribe(machine: Machine, engine: str, pattern: str) -> str:
    path = min(machine.tools.models_dir.glob(pattern)).parent
    model = Model(path.name, path)
    with measured("whisper_transcription", machine) as (child, benchmark):
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


# Shared functions --------------------------------------------------------------------------------------------------------


def _made(machine: Machine, name: str, path: str, function: str) -> Model:
    """Return the model `name`, which a function of another script creates in a process that does not use the card."""
    for directory in (machine.tools.models_dir / name, machine.made_models / name):
        if directory.is_dir():
            return Model(name, directory)
    script = SCRIPTS / path
    with tempfile.TemporaryDirectory(dir=machine.made_models, prefix=".making-") as temporary:
        target = Path(temporary, name)
        target.mkdir()
        code = f"import pathlib, {script.stem}; {script.stem}.{function}(pathlib.Path({str(target)!r}))"
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
            raise NotChecked(f"the model cannot be created: {last_line(done.stderr)}")
        # Only now, so that one whose making was interrupted is made again.
        target.rename(directory)
    return Model(name, directory)


def _peak(done: Done) -> str:
    return f"peak {done.vram // MIB} MiB" if done.vram else "peak unknown"
