"""Moves a loaded pipeline to its device by the chosen placement, and weighs its parts."""

from __future__ import annotations

from typing import Any

from runners.stable_diffusion.memory import Savings, Sizes
from runners.stable_diffusion.pinning import pin


def modules(base: Any) -> dict[str, Any]:
    """Return the parts of a pipeline that have weights, by name."""
    return {name: part for name, part in base.components.items() if hasattr(part, "parameters")}


def measure(base: Any, quantization: str) -> Sizes:
    """Return the bytes of a loaded pipeline's weights, whose denoiser has this form (see `GenerationSettings`)."""
    parts = modules(base)
    # bitsandbytes' weights belong to their modules, and cannot be exchanged without them.
    streamable = quantization in ("none", "fp8") or quantization.startswith("gguf")
    return Sizes(
        parts=tuple(_weight(part.parameters()) for part in parts.values()),
        blocks=max(_streamed(name, part) for name, part in parts.items()) if streamable else None,
    )


def move(base: Any, savings: Savings, kind: str) -> int:
    """Move a pipeline that is on the CPU to a device of this kind, "cuda" or "cpu". Return the bytes of page-locked main memory."""
    locked = 0
    match savings.placement:
        case "whole":
            base.to(kind)
        case "parts":
            base.enable_model_cpu_offload(device=kind)
        case "blocks":
            locked = pin(part for name, part in modules(base).items() if _streams(name, kind))
            for name, part in modules(base).items():
                _stream(name, part, kind)
    return locked


def _stream(name: str, part: Any, kind: str) -> None:
    """Copy a part's blocks to the device when they are used; on CUDA, the next one while one computes."""
    import torch  # noqa: PLC0415 - the coordinator imports this module without the engine
    from diffusers.hooks import apply_group_offloading  # noqa: PLC0415 - as above

    streams = _streams(name, kind)
    whole_blocks = _has_blocks(name)
    apply_group_offloading(
        part,
        torch.device(kind),
        offload_type="block_level" if whole_blocks else "leaf_level",
        num_blocks_per_group=1 if whole_blocks else None,
        non_blocking=streams,
        use_stream=streams,
        record_stream=streams,
        # Otherwise diffusers makes a page-locked copy of every weight.
        low_cpu_mem_usage=streams,
    )


def _streams(name: str, kind: str) -> bool:
    """Return whether a part's next block is copied while one computes."""
    # The order of a decoder's layers is learned at its first use, which may have been the encoding of an input picture.
    return kind == "cuda" and name != "vae"


def _has_blocks(name: str) -> bool:
    """Return whether a part is a list of equal blocks. A UNet's are few and large; text encoders nest theirs."""
    return name == "transformer"


def _streamed(name: str, part: Any) -> int:
    """Return the bytes of a part that are on the card at once if its blocks take turns: the one in use and the next one."""
    import torch  # noqa: PLC0415 - the coordinator imports this module without the engine

    if not _has_blocks(name):
        leaves = [module for module in part.modules() if not list(module.children())]
        return 2 * max(_weight(leaf.parameters()) for leaf in leaves)
    lists = [child for child in part.children() if isinstance(child, torch.nn.ModuleList)]
    blocks = [_weight(block.parameters()) for blocks in lists for block in blocks]
    outside_blocks = _weight(part.parameters()) - sum(blocks)
    # Two, since the next block is copied while one computes.
    return outside_blocks + 2 * max(blocks, default=0)


def _weight(weights: Any) -> int:
    return sum(weight.numel() * weight.element_size() for weight in weights)
