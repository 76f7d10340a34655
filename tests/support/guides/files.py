"""Makes the files that README and guides use."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from support.guides.blocks import PROJECT
from support.inputs.media import make_scene, make_speech, make_video

MODEL = '''"""Distinguishes pictures from other files by their first bytes."""

from pathlib import Path


def predict(input, **parameters):
    return {"prediction": "picture" if Path(input).read_bytes().startswith(b"\\xff\\xd8") else "something else"}
'''

REQUEST = {
    "custom_id": "first",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hello!"}]},
}
"""A line of a batch."""


def prepare(directory: Path) -> None:
    """Copy the files to a directory. They are made once per process."""
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
    (directory / "films").mkdir()
    shutil.copyfile(directory / "in.mov", directory / "films" / "monday.mov")
    (directory / "model.py").write_text(MODEL, encoding="utf-8")
    (directory / "requests.jsonl").write_text(f"{json.dumps(REQUEST)}\n", encoding="utf-8")
    (directory / "pictures").mkdir()
    for name in ("cat.jpg", "sunset.jpeg", "pictures/dog.jpg"):
        Image.new("RGB", (64, 64), (200, 40, 40)).save(directory / name)
    return directory
