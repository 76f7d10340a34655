"""Runs inside the sandbox: reads the pictures of a request, and writes them as an engine reads them.

    python image_reader.py JOB

JOB is the path of a JSON object: `packages` is the directory of Pillow, `pictures` lists fields and paths, `output` is the directory for the
results (0.jpeg, 1.png ...), `max_pixels` bounds one picture, `max_total` all of them, and larger pictures than `seen` pixels are scaled down.
It prints one JSON object a line: `{}` when it is ready, `{"written": NAME}` for each picture, or `{"refused": SENTENCE}` and nothing more.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
PASSED_ON = {"PNG": "png", "JPEG": "jpeg"}
"""Formats that every engine reads."""

PASSED_BYTES = 4 * 2**20
"""Bytes of a file that is passed on unchanged. Files that hide much data in few pixels are written again."""

MAX_SIDE = 8192
MAX_RATIO = 200
"""The longer side of a picture as an engine gets it, in pixels, and how many times as long as the other it may be."""

QUALITY = 90

ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned. Engines ignore it."""


class ImageRefused(Exception):
    """A picture cannot be used. The message is for the client."""


def main() -> None:
    """Read the job, and report to standard output."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.append(job["packages"])
    from PIL import Image  # noqa: PLC0415 - found only now

    Image.MAX_IMAGE_PIXELS = None  # the job names the limit
    report({})
    field = ""
    try:
        total = 0
        for field, path in job["pictures"]:
            with Image.open(path, formats=FORMATS) as image:
                total += measured(image, field, total, job)
        for number, picture in enumerate(job["pictures"]):
            field, path = picture
            with Image.open(path, formats=FORMATS) as image:
                report({"written": write(image, Path(path), Path(job["output"], str(number)), job["seen"])})
    except ImageRefused as error:
        report({"refused": str(error)})
    except MemoryError:
        report({"refused": f"{field}: reading the image takes too much memory. Send a smaller one."})
    except Exception:  # noqa: BLE001 - Pillow's decoders raise almost any exception on a damaged file
        report({"refused": f"{field}: this is not an image in PNG, JPEG, WebP or GIF, or it is damaged."})


def report(message: dict[str, Any]) -> None:
    """Print a message."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def measured(image: Any, field: str, counted: int, job: dict[str, Any]) -> int:
    """Return the pixels of a picture whose header was read; those before it have `counted`. Raises `ImageRefused`."""
    width, height = image.size
    pixels: int = width * height
    if pixels > job["max_pixels"]:
        raise ImageRefused(
            f"{field}: the image has {width} x {height} pixels; at most {job['max_pixels'] // 10**6} million are possible. "
            "Send a smaller one."
        )
    if counted + pixels > job["max_total"]:
        raise ImageRefused(
            f"{field}: the images of the request have more than {job['max_total'] / 10**6:g} million pixels together, which is this "
            "miner's limit (runners.max_picture_pixels). Send fewer or smaller ones."
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageRefused(
            f"{field}: the image has {width} x {height} pixels, a shape that models do not see. Crop it."
        )
    return pixels


def write(image: Any, path: Path, target: Path, pixels: int) -> str:
    """Write an upright picture of at most `pixels` pixels in a format that every engine reads; return the file's name."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - see `main`

    scale = math.sqrt(pixels / (image.width * image.height))
    size = tuple(min(MAX_SIDE, max(1, math.floor(side * scale))) for side in image.size)
    fits = scale >= 1 and max(image.size) <= MAX_SIDE and path.stat().st_size <= PASSED_BYTES
    if fits and image.format in PASSED_ON and image.getexif().get(ORIENTATION, 1) == 1:
        image.load()  # a truncated file is refused here, where the error can name it
        name = f"{target.name}.{PASSED_ON[image.format]}"
        shutil.copyfile(path, target.with_name(name))
        return name
    if image.mode in ("P", "PA"):  # a palette cannot be scaled smoothly
        image = image.convert("RGBA")
    image.thumbnail(size)  # asks a JPEG's decoder for fewer pixels
    # After scaling, which is quicker on fewer pixels.
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        # Engines drop the transparency, and would show the colours below it.
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    name = f"{target.name}.jpeg"
    upright.convert("RGB").save(target.with_name(name), "JPEG", quality=QUALITY, subsampling=0)
    return name


if __name__ == "__main__":
    main()
