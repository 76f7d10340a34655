"""Small previews of unfinished pictures, decoded from downscaled latents. Families differ in how they arrange and scale them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runners.stable_diffusion.images import PREVIEW_SIDE

if TYPE_CHECKING:
    from PIL import Image


def sketch(base: Any, latents: Any, height: int, width: int) -> Image.Image | None:
    """Return a small preview of a picture of this size in pixels; None if its numbers cannot be decoded."""
    import torch  # noqa: PLC0415 - the coordinator imports this module without the engine

    vae, factor = base.vae, int(base.vae_scale_factor)
    latents = _arranged(base, latents, height, width)
    rows, columns = latents.shape[-2:]
    # Decoding is what costs time and memory, so latents are made small first.
    shrink = max(rows, columns) * factor / PREVIEW_SIDE
    if shrink > 1:
        size = max(1, round(rows / shrink)), max(1, round(columns / shrink))
        latents = torch.nn.functional.adaptive_avg_pool2d(latents, size)
    scaled = _scaled(vae, latents).to(vae.dtype)
    decoded = (
        vae.decode(scaled.unsqueeze(2)).sample[:, :, 0] if _has_frames(vae) else vae.decode(scaled).sample
    )
    if not bool(decoded.isfinite().all()):
        return None
    picture: Image.Image = base.image_processor.postprocess(decoded, output_type="pil")[0]
    return picture


def _arranged(base: Any, latents: Any, height: int, width: int) -> Any:
    """Return latents as batch, channels, rows and columns. Transformers work on patches in a row: picture, patch, values."""
    if latents.ndim == 4:  # noqa: PLR2004 - see the docstring
        return latents
    factor = int(base.vae_scale_factor)
    if hasattr(base, "_unpack_latents"):
        latents = base._unpack_latents(latents, height, width, factor)  # noqa: SLF001 - there is no public method
        return latents.squeeze(2) if _has_frames(base.vae) else latents
    # FLUX.2 normalises its patches, which are in the picture's order.
    rows, columns = height // (2 * factor), width // (2 * factor)
    patches = latents.transpose(1, 2).reshape(1, -1, rows, columns)
    norm = base.vae.bn
    mean, variance = (
        statistic.view(1, -1, 1, 1).to(patches) for statistic in (norm.running_mean, norm.running_var)
    )
    patches = patches * (variance + base.vae.config.batch_norm_eps).sqrt() + mean
    return base._unpatchify_latents(patches)  # noqa: SLF001 - as above


def _scaled(vae: Any, latents: Any) -> Any:
    """Return latents in the decoder's own range."""
    if _has_frames(vae):
        mean, deviation = (
            latents.new_tensor(statistic).view(1, -1, 1, 1)
            for statistic in (vae.config.latents_mean, vae.config.latents_std)
        )
        return latents * deviation + mean
    return latents / (vae.config.get("scaling_factor") or 1.0) + (vae.config.get("shift_factor") or 0.0)


def _has_frames(vae: Any) -> bool:
    """Return whether a decoder is one of videos, whose pictures are videos of one frame (Qwen-Image)."""
    return "temperal_downsample" in vae.config
