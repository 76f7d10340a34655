"""Pictures from text by Stable Diffusion."""

from runners.stable_diffusion.runner import StableDiffusionRunner

__all__ = ["StableDiffusionRunner"]
