"""Pictures: the runner in its child process, compared with diffusers alone on the same pipeline.

Both do the same work: encode the prompt, perform the steps, decode, and write a PNG. The runner also checks for cancellation, reports
progress and makes previews. The pipelines are small with random weights, which makes the runner's share larger than with trained
ones. Both have one thread and are measured alternately, in processor seconds, so that other programs on the machine do not count; the
figure of each is its best round.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from measuring.child import Child
from measuring.row import Row
from runners.api import Model

TESTS = Path(__file__).parents[2] / "tests"

SIDE = 256
THREADS = 1
"""With small matrices, dividing the work costs more than it saves."""

WORK = {"untrained-diffusion": (25, 1), "FluxPipeline": (28, 1), "ZImagePipeline": (9, 4)}
"""By pipeline: the steps that such models are made for, and the pictures of a request."""


def measure(folder: Path, rounds: int) -> list[Row]:
    """Return one row for each pipeline."""
    return [_measure(folder, name, *work, rounds) for name, work in WORK.items()]


def _measure(folder: Path, name: str, steps: int, pictures: int, rounds: int) -> Row:
    sys.path.append(str(TESTS))
    from support.inputs.diffusion import make_untrained  # noqa: PLC0415 - the tests' models
    from support.inputs.families import make_family  # noqa: PLC0415 - as above

    directory = folder / name
    if name == "untrained-diffusion":
        make_untrained(directory)
    else:
        make_family(name, directory)
    engine = _engine(directory, folder, steps, pictures)
    parameters = {"prompt": "a cat", "model": name, "size": f"{SIDE}x{SIDE}", "steps": steps, "seed": 1}
    ours, alone = [], []
    with Child("image_generation", folder / f"{name}-runs") as child:
        child.load(Model(name, directory), threads=THREADS)
        process = psutil.Process(child.pid)
        for _ in range(rounds + 1):  # the first is a warm-up
            before = _used(process)
            child.run({**parameters, "num_images": pictures})
            ours.append(_used(process) - before)
            before = time.process_time()
            engine()
            alone.append(time.process_time() - before)
    work = steps * pictures
    speeds = [[work / seconds for seconds in side[1:]] for side in (ours, alone)]
    return Row(f"pictures, {name}", *speeds, "step/processor second")


def _engine(directory: Path, folder: Path, steps: int, pictures: int) -> Callable[[], None]:
    """Return a call of diffusers alone: one picture after the other, each from its own seed as in a request."""
    import diffusers  # noqa: PLC0415 - engines are optional
    import torch  # noqa: PLC0415 - as above

    torch.set_num_threads(THREADS)
    pipeline: Any = diffusers.AutoPipelineForText2Image.from_pretrained(
        str(directory), torch_dtype=torch.float32, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> None:
        for number in range(pictures):
            made = pipeline(
                prompt="a cat",
                width=SIDE,
                height=SIDE,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(1 + number),
            )
            made.images[0].save(folder / "alone.png")

    return draw


def _used(process: psutil.Process) -> float:
    """Return the processor seconds of a process so far."""
    times = process.cpu_times()
    return times.user + times.system
