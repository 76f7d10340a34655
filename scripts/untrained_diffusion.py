"""Creates a tiny Stable Diffusion pipeline with random weights.

No package of the index contains a real diffusion model, and a hub may be unreachable where the project is tried or
tested. This pipeline has every part of a real one (tokenizer, text encoder, denoiser, decoder) and runs in a fraction of a second
on a processor. It is untrained: its images are noise, and its name says so.

    python scripts/untrained_diffusion.py DIRECTORY
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

SEED = 20251125
"""Determines all weights, so that two machines with the same torch have the same model."""

SOURCE = {"made_by": "scripts/untrained_diffusion.py", "version": "1", "licence": "MIT"}
"""The content of the file next to the model. Increase the version when the model changes, so that old ones are replaced."""

REQUIRED = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer_config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
)
"""The files that every complete model has."""

TEXT_WIDTH = 32
PROMPT_TOKENS = 77
"""The maximum length of a prompt for CLIP, as in trained models."""


def make(directory: Path) -> None:
    """Write the pipeline into `directory`, as half precision safetensors in diffusers' layout."""
    torch, diffusers = _late("torch"), _late("diffusers")
    for library in (diffusers, _late("transformers")):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        parts = {"text_encoder": _text_encoder(), "unet": _unet(), "vae": _vae()}
    pipeline = diffusers.StableDiffusionPipeline(
        **parts,
        tokenizer=_tokenizer(),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16, silence_dtype_warnings=True)
    pipeline.save_pretrained(str(directory), safe_serialization=True)


def _late(library: str) -> Any:
    """Import a library on first use: this takes seconds, and most callers only check whether the model exists."""
    return importlib.import_module(library)


def _unet() -> Any:
    return _late("diffusers").UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,
    )


def _vae() -> Any:
    """Return a decoder with eight pixels per latent on each side, as in trained models, so that large images are as cheap."""
    return _late("diffusers").AutoencoderKL(
        sample_size=128,
        block_out_channels=(32, 32, 32, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )


def _text_encoder() -> Any:
    words = len(_vocabulary())
    configuration = _late("transformers").CLIPTextConfig(
        vocab_size=words,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=PROMPT_TOKENS,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return _late("transformers").CLIPTextModel(configuration)


def _tokenizer() -> Any:
    """Return CLIP's tokenizer with a vocabulary of single bytes, so that different texts have different tokens."""
    with tempfile.TemporaryDirectory() as directory:
        vocabulary, merges = Path(directory, "vocab.json"), Path(directory, "merges.txt")
        vocabulary.write_text(json.dumps(_vocabulary()))
        merges.write_text("#version: 0.2\n")
        return _late("transformers").CLIPTokenizer.from_pretrained(directory, model_max_length=PROMPT_TOKENS)


def _vocabulary() -> dict[str, int]:
    letters = sorted(_late("tokenizers").pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}


def _scheduler() -> Any:
    """Return the schedule of Stable Diffusion 1."""
    return _late("diffusers").DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
