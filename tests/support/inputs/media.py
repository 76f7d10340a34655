"""Real input files from real programs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from support.inputs.speech import SENTENCE


def make_video(path: Path, *, seconds: float = 2, size: str = "640x360", rate: int = 25) -> Path:
    """Create a moving test pattern with a tone."""
    video = f"testsrc2=size={size}:duration={seconds}:rate={rate}"
    inputs = ["-f", "lavfi", "-i", video, "-f", "lavfi", "-i", f"sine=duration={seconds}"]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *inputs, "-pix_fmt", "yuv420p", "-preset", "ultrafast", path],
        check=True,
    )
    return path


def make_speech(path: Path, text: str = SENTENCE) -> Path:
    """Create speech at 16 kHz."""
    raw = path.with_suffix(".raw.wav")
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", raw, text], check=True)
    subprocess.run(["sox", raw, "-r", "16000", "-c", "1", path], check=True)
    return path


def probe(path: Path) -> dict[str, Any]:
    """Return ffprobe's description of a file."""
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", path]
    value: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return value


_SCENE = """
import bpy
scene = bpy.context.scene
scene.frame_end = 12
camera = scene.camera
for frame, x in ((1, 7.4), (12, 5.0)):
    camera.location.x = x
    camera.keyframe_insert("location", frame=frame)
bpy.ops.wm.save_as_mainfile(filepath={path!r})
"""


def make_scene(path: Path) -> Path:
    """Create Blender's default scene, a cube with a light, and a camera that moves for twelve frames."""
    script = _SCENE.format(path=str(path))
    command = ["blender", "-b", "--factory-startup", "--python-exit-code", "1", "--python-expr", script]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return path
