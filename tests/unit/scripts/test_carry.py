"""`scripts/gpu/carry.py` and `use_carried.py`: what is packed in pieces on one machine is unpacked on the other."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts" / "gpu"))

import carry  # noqa: E402 - a script, from the path above
import use_carried  # noqa: E402 - as above

WEIGHTS = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(80))
"""Bytes that cannot be compressed."""


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two loads, of three pieces and of one."""
    monkeypatch.setattr(carry, "PIECE", 1000)
    large, small = tmp_path / "large", tmp_path / "small"
    (large / "site").mkdir(parents=True)
    (large / "site" / "weights").write_bytes(WEIGHTS)
    (large / "site" / "program").touch(mode=0o755)
    small.mkdir()
    (small / "notes").write_text("few")
    packed = [
        *carry._packed(large, tmp_path / "loads", "large"),
        *carry._packed(small, tmp_path / "loads", "small"),
    ]
    assert [folder.name for folder, _ in packed] == ["large-1", "large-2", "large-3", "small"]
    assert max(size for _, size in packed) <= 1000
    return tmp_path / "loads"


def test_loads_are_unpacked_as_they_arrive(
    loads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, late = tmp_path / "carried", loads / "large-2"
    shutil.move(late, tmp_path)
    use_carried.unpack(loads, target)
    assert (target / "notes").read_text() == "few"
    assert not (target / "site").exists()
    assert "large: only 2 of 3 pieces are here" in capsys.readouterr().err
    shutil.move(tmp_path / late.name, loads)
    (target / "notes").write_text("changed")
    use_carried.unpack(loads, target)
    assert (target / "site" / "weights").read_bytes() == WEIGHTS
    assert (target / "site" / "program").stat().st_mode & 0o111
    # Not again: what was unpacked may be in use.
    assert (target / "notes").read_text() == "changed"


@pytest.mark.ship
def test_a_program_finds_its_libraries_beside_itself(tmp_path: Path) -> None:
    """Of this machine's libraries, only those of glibc are used. Needs a package index."""
    carry._copy_program("ffmpeg", tmp_path)
    program = tmp_path / "bin" / "ffmpeg"
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=120).stdout
    foreign = [
        line.split()[0] for line in linked.splitlines() if "=> /" in line and str(tmp_path) not in line
    ]
    assert linked.count(str(tmp_path)) > 20
    assert [name for name in foreign if not carry.SYSTEM_LIBRARIES.match(name)] == []


def test_the_other_machines_own_packages_are_not_carried() -> None:
    assert carry._normal("huggingface_hub") == "huggingface-hub"
    carried = ["diffusers", "pydantic-core", "torchmetrics", "onnx-asr", "nvidia-ml-py"]
    own = ["torch", "huggingface-hub", "nvidia-cublas", "numpy", "tokenizers", "onnxruntime", "triton"]
    assert [name for name in carried + own if not carry.PRESENT.match(name)] == carried[:-1]
    # Of NVIDIA's packages, the agent's own is named by its load.
    assert "nvidia-ml-py" in carry.LOADS["agent"].packages
