"""The placement of a diffusion model in GPU memory: whole and fast, or part by part and slower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runners.api import Device, FailureCode, Retry
from runners.stable_diffusion.request import Precision
from runners.torch_memory import CONTEXT_BYTES

TILE_SIDE = 512
"""Pixels on a side of the tiles in which pictures are decoded to save memory."""

DENOISING_BYTES = 512 * 2**20
"""Memory of a step in addition to the weights, at any size."""

DENOISING_BYTES_PER_PIXEL = 1024
DECODING_BYTES_PER_PIXEL = 4096
"""Memory of steps and decoding in half precision. At full size the decoder has 128 and 256 channels, several buffers at
once; attention needs little, because PyTorch's SDPA never stores the whole matrix."""

Placement = Literal["whole", "parts", "blocks"]


@dataclass(frozen=True, slots=True)
class Savings:
    """What is done to save GPU memory.

    Diffusers' other two options save nothing here: attention slicing, because SDPA stores no matrix, and decoder slicing, because
    pictures are made one after the other.
    """

    placement: Placement = "whole"
    """What is on the GPU: the whole model, the active part (text encoder, denoiser, decoder), or the active block of a part and the next one,
    which is copied meanwhile."""
    tiling: bool = False
    """Whether pictures are decoded in tiles, whose seams can be faintly visible."""


LADDER = (
    Savings(),
    Savings("whole", tiling=True),
    Savings("parts", tiling=True),
    Savings("blocks", tiling=True),
)
"""From the fastest to the most economical. With blocks, a step takes at least as long as copying the denoiser to the card."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a loaded model: the weights of each part, and the most that is on the card at once if blocks take turns.

    `blocks` is None if they cannot.
    """

    parts: tuple[int, ...]
    blocks: int | None


def precision(device: Device) -> Precision:
    """Return the number type.

    bfloat16 on cards that support it (compute capability 8 and later), since it does not overflow; float32 on a CPU, where
    half precision is slow.
    """
    if device.kind != "cuda":
        return "float32"
    major = (device.compute_capability or "0").partition(".")[0]
    return "bfloat16" if major.isdigit() and int(major) >= 8 else "float16"  # noqa: PLR2004 - see the docstring


def working_bytes(pixels: int, *, tiling: bool) -> int:
    """Return the GPU memory in bytes for a picture with this many pixels, without the weights."""
    decoded = min(pixels, TILE_SIDE * TILE_SIDE) if tiling else pixels
    # The two follow each other, so their memory does not add up.
    return max(
        DENOISING_BYTES + pixels * DENOISING_BYTES_PER_PIXEL,
        decoded * DECODING_BYTES_PER_PIXEL + pixels * 64,
    )


def available_memory(device: Device, vram: int | None) -> int | None:
    """Return the bytes of this device's memory that a model and its work may take; None if unknown."""
    limit = vram if vram is not None else device.memory or None
    return None if device.kind != "cuda" or limit is None else max(0, limit - CONTEXT_BYTES)


def choose_savings(sizes: Sizes, pixels: int, available: int | None) -> Savings:
    """Return the fastest placement for a model of these sizes and pictures with this many pixels.

    Raises `Retry` with OUT_OF_MEMORY if none fits.
    """
    if available is None:
        return LADDER[0]
    weights = {"whole": sum(sizes.parts), "parts": max(sizes.parts, default=0), "blocks": sizes.blocks}
    for savings in LADDER:
        needed = weights[savings.placement]
        if needed is not None and needed + working_bytes(pixels, tiling=savings.tiling) <= available:
            return savings
    raise Retry(
        "The model does not fit into the GPU's memory, even in parts.",
        code=FailureCode.OUT_OF_MEMORY,
    )


def needs_tiling(savings: Savings, sizes: Sizes, pixels: int, available: int | None) -> bool:
    """Return whether a model with this placement must decode a picture with this many pixels in tiles."""
    if savings.tiling or available is None:
        return savings.tiling
    return sum(sizes.parts) + working_bytes(pixels, tiling=False) > available
