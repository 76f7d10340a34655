"""Diffusion models with random weights for tests: the one from the setup, and LoRAs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from runners.api import Model, Result
from support.scripts import script

NAME = "untrained-diffusion"


def make_untrained(directory: Path) -> Path:
    """Create Stable Diffusion 1 as in `scripts/untrained_diffusion.py`."""
    script("untrained_diffusion").make(directory)
    return directory


def make_lora(model: Path, directory: Path, *, seed: int = 1) -> Path:
    """Create a LoRA for the denoiser of that model."""
    import diffusers  # noqa: PLC0415 - ten seconds, only where it runs
    import torch  # noqa: PLC0415 - as above
    from peft import LoraConfig  # noqa: PLC0415 - as above
    from peft.utils import get_peft_model_state_dict  # noqa: PLC0415 - as above

    unet = diffusers.UNet2DConditionModel.from_pretrained(model / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet.add_adapter(
            LoraConfig(r=4, target_modules=["to_q", "to_v", "to_out.0"], init_lora_weights=False)
        )
    diffusers.StableDiffusionPipeline.save_lora_weights(
        str(directory), unet_lora_layers=get_peft_model_state_dict(unet)
    )
    return directory


def contents(result: Result) -> list[bytes]:
    """Return the files of a run's images."""
    return [image.path.read_bytes() for image in result.results["images"]]


def pixels(result: Result) -> list[bytes]:
    """Return the pixels of a run's images in any format."""
    return [Image.open(io.BytesIO(content)).convert("RGB").tobytes() for content in contents(result)]


def with_loras(make_context: Callable[[], Any], *loras: Model) -> Any:
    """Return a context with these LoRAs on the machine."""
    context = make_context()
    context.adapters = {lora.name: lora for lora in loras}
    return context
