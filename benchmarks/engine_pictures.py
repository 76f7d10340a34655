"""Pictures: the runner in its child process, compared with diffusers alone on the same pipeline.

    .venv/bin/python benchmarks/engine_pictures.py [--rounds 3]

Both do the same work: encode the prompt, perform the steps, decode, and write a PNG. The runner also checks for cancellation, reports
progress and makes previews. The pipelines are small with random weights, which makes the runner's share larger than with trained
ones. Both have one thread and are measured alternately, in processor seconds, so that other programs on the machine do not count; the
figure of each is its best round.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tests")]

import psutil  # noqa: E402
import torch  # noqa: E402 - the packages below are found by the path above
from measuring.child import running_child  # noqa: E402

from runners.api import Model  # noqa: E402
from support.diffusion import make_untrained  # noqa: E402
from support.families import make_family  # noqa: E402

SIDE = 256
THREADS = 1
"""With small matrices, dividing the work costs more than it saves."""

WORK = {"untrained-diffusion": (25, 1), "FluxPipeline": (28, 1), "ZImagePipeline": (9, 4)}
"""By pipeline: the steps that such models are made for, and the pictures of a request."""


class Row(NamedTuple):
    """Steps per processor second of our path and of the engine alone, and their ratio."""

    name: str
    ours: float
    alone: float
    ratio: float


def measure(rounds: int = 3) -> list[Row]:
    """Return one row for each pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        return [_measure(Path(folder), name, *work, rounds) for name, work in WORK.items()]


def _measure(folder: Path, name: str, steps: int, pictures: int, rounds: int) -> Row:
    directory = folder / name
    if name == "untrained-diffusion":
        make_untrained(directory)
    else:
        make_family(name, directory)
    engine = _engine(directory, folder, steps, pictures)
    with running_child(folder / "runs", "image_generation", Model(name, directory), THREADS) as child:
        parameters = {"prompt": "a cat", "model": name, "size": f"{SIDE}x{SIDE}", "steps": steps, "seed": 1}
        parameters["num_images"] = pictures
        process = psutil.Process(child.process.pid)
        ours, alone = [], []
        for number in range(rounds + 1):  # the first is a warm-up
            before = _used(process)
            child.start(f"{name}-{number}", parameters)
            child.done()
            ours.append(_used(process) - before)
            before = time.process_time()
            engine()
            alone.append(time.process_time() - before)
    work = steps * pictures
    return Row(
        f"pictures, {name}",
        work / min(ours[1:]),
        work / min(alone[1:]),
        min(alone[1:]) / min(ours[1:]),
    )


def _engine(directory: Path, folder: Path, steps: int, pictures: int) -> Callable[[], None]:
    """Return a call of diffusers alone: one picture after the other, each from its own seed as in a request."""
    import diffusers  # noqa: PLC0415 - takes a second

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


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Measure what the runner costs beside diffusers alone.")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':32} {'ours':>8} {'alone':>8} {'ratio':>6}   steps/s")
    for row in measure(options.rounds):
        print(f"{row.name:32} {row.ours:8.2f} {row.alone:8.2f} {row.ratio:6.3f}")


if __name__ == "__main__":
    main()
