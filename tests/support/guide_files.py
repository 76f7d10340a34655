"""The files of which README and guides speak, as a reader would have them."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from support.guide_blocks import PROJECT
from support.media import make_scene, make_speech, make_video

MODEL = '''"""Says of which colour a picture has most."""


def predict(input, **parameters):
    from PIL import Image

    colour = Image.open(input).convert("RGB").resize((1, 1)).getpixel((0, 0))
    return {"prediction": ("red", "green", "blue")[colour.index(max(colour))]}
'''


def prepare(directory: Path) -> None:
    """Put the files into a directory; they are made once for all tests of a process."""
    shutil.copytree(_made(), directory)
    (directory / "node_modules").symlink_to(PROJECT / "node_modules")


@functools.cache
def _made() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="aitbc-guides-"))
    make_video(directory / "in.mov", seconds=1, size="320x180")
    make_video(directory / "film.mkv", seconds=1, size="320x180")
    speech = make_speech(directory / "speech.wav", "The quick brown fox jumps over the lazy dog.")
    (directory / "speech.raw.wav").unlink()
    (directory / "talks").mkdir()
    for name in ("talk.wav", "talks/monday.wav", "talks/tuesday.wav"):
        shutil.copyfile(speech, directory / name)
    make_scene(directory / "scene.blend")
    (directory / "model.py").write_text(MODEL, encoding="utf-8")
    Image.new("RGB", (64, 64), (200, 40, 40)).save(directory / "cat.jpg")
    return directory
