"""How a diffusion model is kept in a GPU's memory: whole and fast, or in turns and slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runners.api import Device, FailureCode, Retry
from runners.torch_memory import CONTEXT_BYTES

TILE_SIDE = 512
"""Pixels on a side of the tiles in which pictures are decoded to save memory."""

DENOISING_BYTES = 512 * 2**20
"""What a step takes beside the weights at any size."""

DENOISING_BYTES_PER_PIXEL = 1024
DECODING_BYTES_PER_PIXEL = 4096
"""What steps and decoding take in half precision. At full size the decoder has 128 and 256 channels, a few of them at
once; attention takes little, because PyTorch's own (SDPA) never holds the whole matrix."""

LAYER_BYTES = 2**30
"""What the largest layers on the GPU take when layers come and go."""

Placement = Literal["whole", "parts", "layers"]


@dataclass(frozen=True, slots=True)
class Savings:
    """What is on the GPU, and whether pictures are decoded in tiles, whose seams can show faintly.

    `placement` is the whole model, the part that works (text encoder, denoiser, decoder), or the layer that works.
    Diffusers' other two savings are of no use here: slicing the attention only where PyTorch's holds its matrix, slicing
    the decoder only for several pictures at once, and these are made one after the other.
    """

    placement: Placement = "whole"
    tiling: bool = False


LADDER = (
    Savings(),
    Savings("whole", tiling=True),
    Savings("parts", tiling=True),
    Savings("layers", tiling=True),
)
"""From the fastest to the one that takes least. Layers, many times slower, for cards that hold no part whole."""


def precision(device: Device) -> Literal["bfloat16", "float16", "float32"]:
    """The numbers to compute with.

    bfloat16 where the card has it (compute capability 8 and later), since it does not overflow; float32 on a CPU, where
    half precision is slow.
    """
    if device.kind != "cuda":
        return "float32"
    major = (device.compute_capability or "0").partition(".")[0]
    return "bfloat16" if major.isdigit() and int(major) >= 8 else "float16"  # noqa: PLR2004 - see the docstring


def working_bytes(pixels: int, *, tiling: bool) -> int:
    """What a picture of so many pixels takes on a GPU beside the weights, in bytes."""
    decoded = min(pixels, TILE_SIDE * TILE_SIDE) if tiling else pixels
    return max(
        DENOISING_BYTES + pixels * DENOISING_BYTES_PER_PIXEL,
        decoded * DECODING_BYTES_PER_PIXEL + pixels * 64,
    )


def room(device: Device, vram: int | None) -> int | None:
    """Bytes that a model and its work may take of this device's memory; None where it is not known."""
    limit = vram if vram is not None else device.memory or None
    return None if device.kind != "cuda" or limit is None else max(0, limit - CONTEXT_BYTES)


def choose_savings(parts: Sequence[int], pixels: int, available: int | None) -> Savings:
    """The fastest way in which a model with parts of these sizes, in bytes, makes pictures of so many pixels.

    Raises `Retry` with OUT_OF_MEMORY if there is none.
    """
    if available is None:
        return LADDER[0]
    weights = {"whole": sum(parts), "parts": max(parts, default=0), "layers": LAYER_BYTES}
    for savings in LADDER:
        if weights[savings.placement] + working_bytes(pixels, tiling=savings.tiling) <= available:
            return savings
    raise Retry(
        "The model does not fit into the GPU's memory, not even layer by layer.",
        code=FailureCode.OUT_OF_MEMORY,
    )


def needs_tiling(savings: Savings, parts: Sequence[int], pixels: int, available: int | None) -> bool:
    """Whether a picture of so many pixels is decoded in tiles by a model that is kept as `savings` says."""
    if savings.tiling or available is None:
        return savings.tiling
    return sum(parts) + working_bytes(pixels, tiling=False) > available
