"""Diffusion models with random weights for tests: the one from the setup, tiny ones of other families, LoRAs."""

from __future__ import annotations

import functools
import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import diffusers
import torch
import transformers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from runners.api import Model, Result

SCRIPTS = Path(__file__).parents[2] / "scripts"
NAME = "untrained-diffusion"
WIDTH = 32


@functools.cache
def script(name: str) -> ModuleType:
    """Import a script of the project as a module, so that other scripts can import it."""
    specification = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def make_untrained(directory: Path) -> Path:
    """Create Stable Diffusion 1 as in `scripts/untrained_diffusion.py`."""
    script("untrained_diffusion").make(directory)
    return directory


def make_lora(model: Path, directory: Path, *, seed: int = 1) -> Path:
    """Create a LoRA for the denoiser of that model."""
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


def make_family(family: str, directory: Path) -> Path:
    """Create a tiny pipeline of this diffusers class."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        makers = {"StableDiffusionXLPipeline": _sdxl, "StableDiffusion3Pipeline": _sd3, "FluxPipeline": _flux}
        pipeline = getattr(diffusers, family)(**makers[family]())
    pipeline.save_pretrained(str(directory), safe_serialization=True)
    return directory


def _clip(*, projection: bool) -> Any:
    configuration = script("untrained_diffusion")._text_encoder().config
    configuration.projection_dim = WIDTH
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(configuration)


def _t5() -> tuple[Any, Any]:
    letters = [(letter, -1.0) for letter in "▁abcdefghijklmnopqrstuvwxyz,."]
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters]
    tokenizer = transformers.T5Tokenizer(vocab=words, extra_ids=0)
    configuration = transformers.T5Config(
        vocab_size=len(words), d_model=WIDTH, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return transformers.T5EncoderModel(configuration), tokenizer


def _vae(channels: int = 16) -> Any:
    return diffusers.AutoencoderKL(
        sample_size=128,
        block_out_channels=(32,) * 4,
        layers_per_block=1,
        latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        shift_factor=0.1 if channels > 4 else None,
        use_quant_conv=channels == 4,
        use_post_quant_conv=channels == 4,
    )


def _sdxl() -> dict[str, Any]:
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2 * WIDTH,
        attention_head_dim=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )
    tokenizer = script("untrained_diffusion")._tokenizer()
    return {
        "unet": unet,
        "vae": _vae(4),
        "scheduler": diffusers.EulerDiscreteScheduler(
            beta_schedule="scaled_linear", timestep_spacing="leading"
        ),
        "text_encoder": _clip(projection=False),
        "text_encoder_2": _clip(projection=True),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
    }


def _sd3() -> dict[str, Any]:
    encoder, t5_tokenizer = _t5()
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        out_channels=16,
        pos_embed_max_size=128,
    )
    encoder_width = 2 * WIDTH
    encoder = encoder.__class__(
        encoder.config.__class__(**{**encoder.config.to_dict(), "d_model": encoder_width})
    )
    tokenizer = script("untrained_diffusion")._tokenizer()
    return {
        "transformer": transformer,
        "vae": _vae(),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "text_encoder": _clip(projection=True),
        "text_encoder_2": _clip(projection=True),
        "text_encoder_3": encoder,
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "tokenizer_3": t5_tokenizer,
    }


def _flux() -> dict[str, Any]:
    encoder, t5_tokenizer = _t5()
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 6, 6),
        guidance_embeds=True,
    )
    return {
        "transformer": transformer,
        "vae": _vae(),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "text_encoder": _clip(projection=False),
        "text_encoder_2": encoder,
        "tokenizer": script("untrained_diffusion")._tokenizer(),
        "tokenizer_2": t5_tokenizer,
    }


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
