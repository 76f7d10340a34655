"""Tiny pipelines with random weights of diffusers' families, a few megabytes each."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import diffusers
import gguf
import torch
import transformers
from safetensors.torch import load_file

from support.scripts import script

WIDTH = 32


def make_family(family: str, directory: Path) -> Path:
    """Create a tiny pipeline of this diffusers class."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        pipeline = getattr(diffusers, family)(**FAMILIES[family]())
    pipeline.save_pretrained(str(directory), safe_serialization=True)
    return directory


def _clip(*, projection: bool) -> Any:
    configuration = script("untrained_diffusion")._text_encoder().config
    configuration.projection_dim = WIDTH
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(configuration)


def _t5(width: int = WIDTH) -> tuple[Any, Any]:
    letters = [(letter, -1.0) for letter in "▁abcdefghijklmnopqrstuvwxyz,."]
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters]
    tokenizer = transformers.T5Tokenizer(vocab=words, extra_ids=0)
    configuration = transformers.T5Config(
        vocab_size=len(words), d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return transformers.T5EncoderModel(configuration), tokenizer


def _qwen_tokenizer() -> Any:
    """Return Qwen's tokenizer with a vocabulary of single bytes and the shape of its chat template."""
    words = sorted(script("untrained_diffusion")._vocabulary())
    words = [word for word in words if not word.endswith("</w>") and not word.startswith("<|")]
    words += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
        Path(directory, "merges.txt").write_text("#version: 0.2\n")
        tokenizer = transformers.Qwen2Tokenizer.from_pretrained(directory)
    tokenizer.chat_template = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    return tokenizer


def _qwen3(layers: int, tokenizer: Any) -> Any:
    return transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
        )
    )


def _qwen_vl(tokenizer: Any) -> Any:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
    }
    vision = {
        "depth": 1,
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0],
    }
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    )


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
    encoder, t5_tokenizer = _t5(2 * WIDTH)
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
        num_layers=2,
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


def _flux2_klein() -> dict[str, Any]:
    """The encoder has as many layers as the pipeline reads: the 9th, 18th and 27th. Latents are normalised as by a trained decoder."""
    tokenizer = _qwen_tokenizer()
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(32,) * 4, layers_per_block=1, latent_channels=8, sample_size=128
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 4)
    return {
        "transformer": diffusers.Flux2Transformer2DModel(
            in_channels=32,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * WIDTH,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        "vae": vae,
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "text_encoder": _qwen3(28, tokenizer),
        "tokenizer": tokenizer,
    }


def _qwen_image() -> dict[str, Any]:
    tokenizer = _qwen_tokenizer()
    return {
        "transformer": diffusers.QwenImageTransformer2DModel(
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
        ),
        "vae": diffusers.AutoencoderKLQwenImage(base_dim=8, num_res_blocks=1),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "text_encoder": _qwen_vl(tokenizer),
        "tokenizer": tokenizer,
    }


def _z_image() -> dict[str, Any]:
    tokenizer = _qwen_tokenizer()
    return {
        "transformer": diffusers.ZImageTransformer2DModel(
            dim=64,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[8, 12, 12],
            axes_lens=[1024, 64, 64],
        ),
        "vae": _vae(),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        "text_encoder": _qwen3(2, tokenizer),
        "tokenizer": tokenizer,
    }


FAMILIES = {
    "StableDiffusionXLPipeline": _sdxl,
    "StableDiffusion3Pipeline": _sd3,
    "FluxPipeline": _flux,
    "Flux2KleinPipeline": _flux2_klein,
    "QwenImagePipeline": _qwen_image,
    "ZImagePipeline": _z_image,
}
"""The parts of a pipeline of each family, by diffusers' class."""


def make_gguf(flux: Path, directory: Path) -> Path:
    """Copy a FLUX.1 pipeline with its denoiser as a GGUF file of 8-bit blocks instead of safetensors."""
    shutil.copytree(flux, directory)
    denoiser = directory / "transformer"
    weights = load_file(denoiser / "diffusion_pytorch_model.safetensors")
    (denoiser / "diffusion_pytorch_model.safetensors").unlink()
    writer = gguf.GGUFWriter(directory / "flux-Q8_0.gguf", "flux")
    for name, value in weights.items():
        numbers = value.float().numpy()
        if numbers.ndim == 2:
            blocks = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return directory


def make_control(pipeline: Path, directory: Path) -> Path:
    """Create a ControlNet for this pipeline's denoiser that changes its pictures, as a trained one does."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        if (pipeline / "unet").is_dir():
            denoiser = diffusers.UNet2DConditionModel.from_pretrained(pipeline / "unet")
            network = diffusers.ControlNetModel.from_unet(
                denoiser, conditioning_embedding_out_channels=(16, 16, 32, 32)
            )
        else:
            denoiser = diffusers.FluxTransformer2DModel.from_pretrained(pipeline / "transformer")
            network = diffusers.FluxControlNetModel.from_transformer(
                denoiser, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2
            )
        for weight in network.parameters():
            if not weight.any():  # its outputs start at zero
                torch.nn.init.normal_(weight, std=0.5)
    network.save_pretrained(str(directory), safe_serialization=True)
    return directory
