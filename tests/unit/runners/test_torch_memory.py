"""The GPU memory that runners with torch report, with a stand-in for NVIDIA's library."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from nvml_shim.shim import TWO_CARDS, Card, NvmlShim, build
from runners.torch_memory import CONTEXT_BYTES

pytestmark = pytest.mark.system

PROGRAM = """
import os, sys, torch
from pathlib import Path
from runners.api import Device
from runners.torch_memory import memory_peak
# Torch has no card here, so its own two counters are given.
torch.cuda.memory_reserved = lambda device: 100 * 2**20
torch.cuda.max_memory_reserved = lambda: 300 * 2**20
state = Path(os.environ["NVML_SHIM_FILE"])
state.write_text(state.read_text() + f"1.processes 1:4096,{os.getpid() + int(sys.argv[1])}:{800 * 2**20}\\n")
print(memory_peak(Device("cuda", "a card", os.environ["CUDA_VISIBLE_DEVICES"])))
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize(
    ("cards", "other", "context"),
    [
        (TWO_CARDS, 0, 700 * 2**20),
        (TWO_CARDS, 1, CONTEXT_BYTES),
        (TWO_CARDS[:1], 0, CONTEXT_BYTES),
    ],
    ids=["measured", "process of another namespace", "unknown card"],
)
def test_the_peak_includes_the_measured_memory_of_cuda_itself(
    tmp_path: Path, cards: tuple[Card, ...], other: int, context: int
) -> None:
    nvml = NvmlShim(build(tmp_path / "library"), tmp_path / "state", cards)
    environment = {**nvml.environment, "CUDA_VISIBLE_DEVICES": TWO_CARDS[1].uuid}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(other)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert done.stdout == f"{300 * 2**20 + context}\n", done.stderr
