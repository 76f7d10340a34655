"""Image generation with Stable Diffusion and FLUX."""

from runners.stable_diffusion.runner import StableDiffusionRunner

__all__ = ["StableDiffusionRunner"]
