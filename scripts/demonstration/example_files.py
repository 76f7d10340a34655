"""Makes the files of the dashboard's examples, with the demo's programs and settings.

    .venv/bin/python scripts/demonstration/example_files.py

They are in the tree, since a machine that offers a service need not have the program that makes its input. FFmpeg, Blender, espeak-ng
and sox must be installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "agent/coordinator/web/public/examples"

SENTENCE: Final = "Hello. This recording was written down by another machine, which also signed the text."
COLOURS: Final = "c0=0x0a6b52:c1=0x1c57b0:c2=0xe8c566:c3=0xad241c:nb_colors=4"
SECONDS: Final = 3
COMPRESS: Final = "import bpy; bpy.ops.wm.save_mainfile(compress=True)"


def main() -> None:
    """Write speech.mp3, film.mp4 and scene.blend."""
    with tempfile.TemporaryDirectory() as directory:
        spoken = Path(directory) / "spoken.wav"
        run("espeak-ng", "-v", "en-us", "-s", "150", "-w", str(spoken), SENTENCE)
        # What speech recognition works best with.
        sound = ("-ar", "16000", "-ac", "1", "-b:a", "32k")
        run("ffmpeg", "-v", "error", "-y", "-i", str(spoken), *sound, str(EXAMPLES / "speech.mp3"))
        scene = Path(directory) / "scene.blend"
        blender = ("blender", "-b", "--factory-startup")
        run(*blender, "-P", str(Path(__file__).with_name("demo_scene.py")), "--", str(scene))
        run("blender", "-b", str(scene), "--python-expr", COMPRESS)
        (EXAMPLES / "scene.blend").write_bytes(scene.read_bytes())
    picture = f"gradients=size=640x360:rate=25:duration={SECONDS}:speed=0.04:seed=3:{COLOURS}"
    tone = f"sine=frequency=440:duration={SECONDS}"
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone)
    run("ffmpeg", "-v", "error", "-y", *inputs, "-pix_fmt", "yuv420p", str(EXAMPLES / "film.mp4"))


def run(*command: str) -> None:
    """Run a program. Exits if it fails."""
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        sys.exit(f"{command[0]} ended with status {completed.returncode}: {completed.stderr}")


if __name__ == "__main__":
    main()
