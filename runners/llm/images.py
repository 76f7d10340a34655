"""Prepares the images of a conversation for an engine."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runners.api import Fail, FailureCode, Retry
from runners.extras import install_command
from runners.llm.request import InferenceRequest

MAX_BYTES = 20 * 2**20
"""Bytes of an image file."""

MAX_PIXELS = 50_000_000
"""Pixels of an image. Engines hold all of them in memory before they make the image smaller."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
PASSED_ON = {"PNG": "image/png", "JPEG": "image/jpeg"}
"""Formats that every engine reads."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned. Engines ignore it."""

Images = Mapping[str, str]
"""Images as data URLs, by the paths of their fields: "messages.0.content.1.image_url"."""


def read_images(request: InferenceRequest, files: Mapping[str, Path]) -> Images:
    """Return the images of a request. Raises `Fail` for a file that is not an image or too large, `Retry` without Pillow."""
    if not any(message.images for message in request.messages):
        return {}
    return {field: _data_url(field, path) for field, path in files.items()}


def _data_url(field: str, path: Path) -> str:
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - the coordinator has no engine
    except ImportError:
        raise Retry(
            f"Pillow is missing; install it: {install_command('pillow')}.", code=FailureCode.ENGINE_MISSING
        ) from None
    if path.stat().st_size > MAX_BYTES:
        raise Fail(f"{field}: an image may have at most {MAX_BYTES // 2**20} MiB; send a smaller one.")
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Fail(
                    f"{field}: the image has {image.width} x {image.height} pixels; at most {MAX_PIXELS // 10**6} million are "
                    "possible. Send a smaller one."
                )
            media_type, data = _encoded(image, path)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Fail(f"{field}: this is not an image in PNG, JPEG, WebP or GIF ({error})."[:300]) from None
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Any, path: Path) -> tuple[str, bytes]:
    """Return the media type and the bytes of an upright image in a format that every engine reads."""
    turned = image.getexif().get(ORIENTATION, 1) != 1
    if image.format in PASSED_ON and not turned:
        image.load()  # a truncated file is refused here, where the error can name it
        return PASSED_ON[image.format], path.read_bytes()
    from PIL import ImageOps  # noqa: PLC0415 - as above

    upright = ImageOps.exif_transpose(image)
    made = io.BytesIO()
    upright.convert("RGBA" if upright.has_transparency_data else "RGB").save(made, "PNG")
    return "image/png", made.getvalue()
