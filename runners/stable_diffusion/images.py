"""Picture files: untrusted inputs and the outputs of runs."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.api import Fail
from runners.stable_diffusion.request import OutputFormat, Region

if TYPE_CHECKING:
    from PIL import Image

INPUT_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_INPUT_BYTES = 32 * 2**20
MAX_INPUT_PIXELS = 40_000_000
"""Pixels of an input picture; a decoded copy takes 160 MB, and there are up to three at once."""

MASKED = 128
"""The grey level of a mask from which a pixel is redrawn, as in diffusers."""

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Modes with eight bits per channel. Others would lose their brightness range on conversion."""

PREVIEW_SIDE = 256
PREVIEW_BYTES = 64_000
"""Most pixels on a preview's longer side, and most characters of its base64 text."""

_PREVIEW_QUALITIES = (75, 50, 25)
"""Tried in turn. At the last one even noise of 256 x 256 pixels stays below `PREVIEW_BYTES`."""

_EXIF_IFD = 0x8769
_USER_COMMENT = 0x9286
"""Tags of the Exif standard (CIPA DC-008)."""


def read_image(path: Path, field: str) -> Image.Image:
    """Read an untrusted picture as RGB, upright, with white for transparency. Raises `Fail` that names the field."""
    from PIL import Image  # noqa: PLC0415 - the coordinator imports this module without the engine

    upright = _read_upright(path, field)
    try:
        # Dropping transparency would show the colours that the file has below it.
        white = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(white, upright).convert("RGB")
    except MemoryError as error:
        raise _too_much_memory(field) from error


def _read_upright(path: Path, field: str) -> Image.Image:
    """Read an untrusted picture as RGBA, upright. Raises `Fail` that names the field."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - the coordinator imports this module without the engine

    if path.stat().st_size > MAX_INPUT_BYTES:
        raise Fail(f"{field}: the file is larger than {MAX_INPUT_BYTES // 2**20} MiB.")
    with warnings.catch_warnings():
        # The limit here is lower than Pillow's.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=INPUT_FORMATS) as image:
                # The header states the size, so that a bomb is refused before it is decoded.
                _check_header(image, field)
                image.verify()
            with Image.open(path, formats=INPUT_FORMATS) as image:  # `verify` consumes the image
                image.load()
                return ImageOps.exif_transpose(image).convert("RGBA")
        except Fail:
            raise
        except MemoryError as error:
            raise _too_much_memory(field) from error
        except Image.DecompressionBombError as error:
            raise _too_many_pixels(field) from error
        except Exception as error:
            # Pillow's decoders raise almost any exception on a damaged file.
            raise Fail(f"{field}: the file is not a complete PNG, JPEG or WebP picture.") from error


def _check_header(image: Image.Image, field: str) -> None:
    width, height = image.size
    if width * height > MAX_INPUT_PIXELS:
        raise _too_many_pixels(field)
    if image.mode not in _MODES:
        raise Fail(f"{field}: send a picture with 8 bits per channel.")


def _too_much_memory(field: str) -> Fail:
    return Fail(f"{field}: reading the picture takes too much memory; send a smaller one.")


def _too_many_pixels(field: str) -> Fail:
    return Fail(f"{field}: the picture has more than {MAX_INPUT_PIXELS // 10**6} megapixels.")


def read_mask(path: Path, size: tuple[int, int], region: Region = "white") -> Image.Image:
    """Read an untrusted mask for a picture of this size as grey levels, white where it is redrawn: in its white or transparent `region`. Raises `Fail`."""
    if region == "transparent":
        mask = _read_upright(path, "mask_url").getchannel("A").point(lambda alpha: 255 - alpha)
        paint = "erase the region to redraw"
    else:
        mask = read_image(path, "mask_url").convert("L")
        paint = "paint the region to redraw white"
    if mask.size != size:
        expected, actual = (f"{width}x{height}" for width, height in (size, mask.size))
        raise Fail(
            f"mask_url: the mask is {actual} and the picture {expected}; they must have the same size."
        )
    if not mask.point(lambda level: level >= MASKED, "1").getbbox():
        raise Fail(f"mask_url: the mask has no {region} region; {paint}.")
    return mask


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture at this size, cropped equally on both sides to fit its shape."""
    from PIL import Image, ImageOps  # noqa: PLC0415 - the coordinator imports this module without the engine

    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def composed(drawn: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the drawn picture where the mask is white and the exact original where it is black.

    A diffusion model returns the whole picture, and decoding alone changes every pixel slightly.
    """
    from PIL import Image  # noqa: PLC0415 - the coordinator imports this module without the engine

    return Image.composite(drawn, original, mask)


def write_image(
    image: Image.Image, path: Path, form: OutputFormat, quality: int, record: Mapping[str, Any]
) -> None:
    """Write a picture with its generation parameters.

    PNG: text chunks `parameters`, in the format of AUTOMATIC1111's web interface, which many programs read, and
    `aitbc`, the record as JSON. JPEG and WebP: the former in Exif's UserComment.
    """
    from PIL import Image, PngImagePlugin  # noqa: PLC0415 - the coordinator imports this module without the engine

    text = _parameters(record)
    if form == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("parameters", text)
        chunks.add_text("aitbc", json.dumps(record, sort_keys=True))
        image.save(path, "PNG", pnginfo=chunks)
        return
    exif = Image.Exif()
    # The standard prescribes these eight bytes before UTF-16, and big-endian is what readers expect.
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be")
    image.save(path, form.upper(), quality=quality, exif=exif)


def _parameters(record: Mapping[str, Any]) -> str:
    lines = [record["prompt"]]
    if record["negative_prompt"]:
        lines.append(f"Negative prompt: {record['negative_prompt']}")
    fields = {
        "Steps": record["steps"],
        "Sampler": record["scheduler"],
        "CFG scale": f"{record['guidance']:g}",
        "Seed": record["seed"],
        "Size": f"{record['width']}x{record['height']}",
        "Model": record["model"],
    }
    if record["strength"] is not None:
        fields["Denoising strength"] = f"{record['strength']:g}"
    if record["quantization"] != "none":
        fields["Quantization"] = record["quantization"]
    if record["cache"] is not None:
        fields["First block cache"] = f"{record['cache']:g}"
    if record["loras"]:
        fields["Loras"] = " ".join(f"{lora['name']}:{lora['scale']:g}" for lora in record["loras"])
    return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in fields.items())])


def preview(image: Image.Image) -> str:
    """Return a small JPEG in base64, at most `PREVIEW_BYTES` long."""
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    encoded = ""
    for quality in _PREVIEW_QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        encoded = base64.b64encode(stream.getvalue()).decode()
        if len(encoded) <= PREVIEW_BYTES:
            break
    return encoded
