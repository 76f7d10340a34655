"""Compares a generated picture with the auditor's own from the same seed: the noise is drawn on the processor, so both begin alike."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from runners.api import Audited, Comparer, Comparison
from runners.audits import failed
from runners.stable_diffusion.request import (
    MAX_SEED,
    GeneratedImage,
    GenerateRequest,
    GenerateResult,
    GenerationSettings,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

COMPARER: Final = Comparer(
    "Another machine makes one of the pictures again, with the same seed, and compares the pixels.",
    "rerun",
    least_limits={"pixels": 0.001, "tile": 0.002, "structure": 0.01},
)

TILE: Final = 32
"""Pixels of a side of the squares among which the worst is reported."""

WINDOW: Final = 8
"""Pixels of a side of the squares in which the structure of two pictures is compared."""

REQUESTED: Final = ("steps", "guidance", "scheduler", "strength", "cache")
"""Settings that a request may name."""

_CONTRAST: Final = (0.01**2, 0.03**2)
"""The constants of SSIM for values from 0 to 1 (Wang et al. 2004)."""


@dataclass(frozen=True, slots=True)
class ChosenPicture:
    """The audited picture to compare: its number, its entry in the results, and its file."""

    number: int
    image: GeneratedImage
    file: Path


def choose(request: GenerateRequest, audited: Audited) -> ChosenPicture | Comparison:
    """Return a random picture of the audited job, or a "fail" if the results are not those of the request."""
    try:
        results = GenerateResult.model_validate(audited.results)
    except ValidationError:
        return failed("results", "The results are not those of an image generation.")
    images = results.images
    if len(images) != request.num_images:
        return failed("results", f"There are {len(images)} pictures instead of {request.num_images}.")
    first = images[0].seed if request.seed is None else request.seed
    for number, image in enumerate(images):
        position = f"image {number}"
        if image.seed != first + number or not 0 <= first <= MAX_SEED:
            return failed(position, f"The picture's seed is {image.seed} instead of {first + number}.")
        if image.name not in audited.files or image.media_type != f"image/{request.output_format}":
            return failed(position, "The picture is not among the signed files, or in another format.")
        if (image.width, image.height) != (request.sides or (image.width, image.height)):
            return failed(position, f"The picture is {image.width}x{image.height} instead of {request.size}.")
    number = random.Random(audited.choice).randrange(len(images))  # noqa: S311 - the choice itself is secret
    return ChosenPicture(number, images[number], audited.files[images[number].name])


def settings_difference(
    request: GenerateRequest, audited: Audited, auditors: GenerationSettings
) -> Comparison | None:
    """Return the verdict about settings that differ from the auditor's own; None if those that determine the picture are equal.

    One that the request names proves a fault. Another may be the default of another version of the catalogue.
    """
    stated = GenerateResult.model_validate(audited.results).settings
    if stated is None:
        return Comparison("unproven", "The miner did not state its settings.", cause="miner")
    for name in REQUESTED:
        stated_value, value = getattr(stated, name), getattr(auditors, name)
        if stated_value == value:
            continue
        reason = f"The miner's {name} is {stated_value}, the auditor's {value}."
        # The catalogue may have changed since, but a request cannot.
        if getattr(request, name) is not None:
            return failed(name, reason)
        return Comparison("unproven", f"{reason} The request names none.", where=name, cause="miner")
    return None


def precision(settings: GenerationSettings) -> str:
    """Return the precision of a calibration's condition: numbers, quantisation, attention and compilation."""
    parts: list[str] = [settings.precision]
    parts += [settings.quantization] if settings.quantization != "none" else []
    parts += [settings.attention] if settings.attention != "native" else []
    return "+".join([*parts, *(["compiled"] if settings.compiled else [])])


def distances(auditors: Image.Image, audited: Image.Image) -> tuple[dict[str, float], str]:
    """Return the distances of two pictures of the same size, and the worst tile as "tile x,y".

    "pixels" is the mean absolute difference of their values from 0 to 1, "tile" that of the worst tile, "structure" 1 minus the
    structural similarity of their brightness.
    """
    import numpy as np  # noqa: PLC0415 - the coordinator imports this module without the engine

    expected, values = (
        np.asarray(image.convert("RGB"), dtype=np.float64) / 255 for image in (auditors, audited)
    )
    difference = np.abs(expected - values).mean(axis=2)
    # The mean of all pixels hides a face that was painted over.
    tiles = _means(difference, TILE)
    row, column = (int(at) for at in np.unravel_index(int(tiles.argmax()), tiles.shape))
    measured = {
        "pixels": float(difference.mean()),
        "tile": float(tiles.max()),
        "structure": max(0.0, 1 - _similarity(expected.mean(axis=2), values.mean(axis=2))),
    }
    return {name: round(value, 9) for name, value in measured.items()}, f"tile {column * TILE},{row * TILE}"


def _similarity(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the mean SSIM of two pictures in grey, in squares that do not overlap."""
    means = _means(first, WINDOW), _means(second, WINDOW)
    spreads = _means(first * first, WINDOW) - means[0] ** 2, _means(second * second, WINDOW) - means[1] ** 2
    common = _means(first * second, WINDOW) - means[0] * means[1]
    light, contrast = _CONTRAST
    upper = (2 * means[0] * means[1] + light) * (2 * common + contrast)
    lower = (means[0] ** 2 + means[1] ** 2 + light) * (spreads[0] + spreads[1] + contrast)
    return float((upper / lower).mean())


def _means(values: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the mean of each square; the last ones of a row and column may be smaller."""
    import numpy as np  # noqa: PLC0415 - the coordinator imports this module without the engine

    rows, columns = (np.arange(0, length, side) for length in values.shape)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    heights = np.diff(np.append(rows, values.shape[0]))
    widths = np.diff(np.append(columns, values.shape[1]))
    means: NDArray[Any] = sums / np.outer(heights, widths)
    return means
