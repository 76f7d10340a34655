"""Memory of diffusion models on a card, and the catalogue's figures and files of them, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.catalogue import is_included, load_catalogue
from runners.api import Device, Model, Retry
from runners.stable_diffusion.memory import (
    Savings,
    Sizes,
    available_memory,
    choose_savings,
    needs_tiling,
    precision,
    working_bytes,
)
from runners.stable_diffusion.pinning import BLOCK_BYTES
from runners.stable_diffusion.pipeline import model_options
from runners.torch_memory import CONTEXT_BYTES, memory_fraction

GIB = 2**30


def card(capability="8.9", memory=24 * GIB):
    return Device("cuda", "a card", uuid="GPU-1", memory=memory, compute_capability=capability)


@pytest.mark.parametrize(
    ("capability", "numbers"),
    [("7.5", "float16"), ("8.0", "bfloat16"), ("12.0", "bfloat16"), (None, "float16")],
)
def test_precision_follows_the_card(capability, numbers):
    assert precision(card(capability)) == numbers
    assert precision(Device("cpu", "a processor")) == "float32"


def test_available_memory_is_the_budget_or_the_card_without_cudas_own_share():
    assert available_memory(card(), 8 * GIB) == 8 * GIB - CONTEXT_BYTES
    assert available_memory(card(), None) == 24 * GIB - CONTEXT_BYTES
    assert available_memory(card(memory=0), None) is None
    assert available_memory(Device("cpu", "a processor"), 8 * GIB) is None


SDXL = Sizes((5 * GIB, GIB + GIB // 2, GIB // 4), GIB)
MEGAPIXEL = 1024 * 1024


@pytest.mark.parametrize(
    ("gibibytes", "savings"),
    [
        (24, Savings("whole")),
        (10, Savings("whole", tiling=True)),
        (7, Savings("parts", tiling=True)),
        (4, Savings("blocks", tiling=True)),
    ],
)
def test_less_memory_means_more_savings(gibibytes, savings):
    assert choose_savings(SDXL, MEGAPIXEL, gibibytes * GIB) == savings


def test_no_limit_means_no_savings_and_too_little_memory_is_a_machine_fault():
    assert choose_savings(SDXL, MEGAPIXEL, None) == Savings()
    with pytest.raises(Retry) as caught:
        choose_savings(SDXL, MEGAPIXEL, GIB)
    assert caught.value.code == "OUT_OF_MEMORY"


def test_a_picture_larger_than_the_models_own_may_need_tiles():
    available = 11 * GIB
    assert choose_savings(SDXL, MEGAPIXEL, available) == Savings("whole")
    assert not needs_tiling(Savings(), SDXL, MEGAPIXEL, available)
    assert needs_tiling(Savings(), SDXL, 4 * MEGAPIXEL, available)
    assert not needs_tiling(Savings(), SDXL, 4 * MEGAPIXEL, None)
    assert needs_tiling(Savings("parts", tiling=True), SDXL, 64 * 64, available)
    assert working_bytes(4 * MEGAPIXEL, tiling=True) < working_bytes(4 * MEGAPIXEL, tiling=False)


T5, CLIP, VAE = 9524, 246, 168
LOADED = {
    "stable-diffusion-1.5": ((1720, CLIP, VAE), 160, "parts"),
    "sdxl": ((5134, 1390, CLIP, VAE), 260, "parts"),
    "sdxl-turbo": ((5134, 1390, CLIP, VAE), 260, "parts"),
    "stable-diffusion-3.5-medium": ((4940, T5, 1390, CLIP, VAE), 530, "parts"),
    "stable-diffusion-3.5-large": ((16113, T5, 1390, CLIP, VAE), 931, "parts"),
    "flux.1-schnell": ((23782, T5, CLIP, VAE), 1488, "blocks"),
    "flux.1-schnell-q4": ((6784, T5, CLIP, VAE), 1000, "blocks"),
    "flux.1-dev": ((23803, T5, CLIP, VAE), 1488, "blocks"),
    "flux.1-dev-q4": ((6806, T5, CLIP, VAE), 1000, "blocks"),
    "flux.1-dev-q8": ((12708, T5, CLIP, VAE), 1000, "blocks"),
    "flux.2-klein-4b": ((7751, 8045, VAE), 1556, "blocks"),
    "flux.2-klein-9b": ((18157, 16382, VAE), 2490, "blocks"),
    "qwen-image": ((40861, 16584, 254), 2180, "blocks"),
    "qwen-image-2512": ((40861, 16584, 254), 2180, "blocks"),
    "qwen-image-q4": ((13100, 16584, 254), 2180, "blocks"),
    "z-image": ((12310, 8045, VAE), 1556, "blocks"),
    "z-image-turbo": ((12310, 8045, VAE), 1556, "blocks"),
    "untrained-diffusion": ((2, 2, 2), 1, "whole"),
}
"""By model: millions of bytes of its parts on a card (denoiser, text encoders, decoder), the most that is there when blocks take
turns, and the placement with the least memory that the catalogue promises."""


@pytest.mark.parametrize("name", LOADED)
def test_the_catalogues_memory_figures_match_the_runners_needs(name):
    """With `vram` no saving is needed, and with `vram_min` the model still fits."""
    entry = load_catalogue()[name]
    parts, blocks, least = LOADED[name]
    side = {"stable-diffusion-1.5": 512, "sdxl-turbo": 512, "untrained-diffusion": 128}.get(name, 1024)
    sizes = Sizes(tuple(part * 10**6 for part in parts), blocks * 10**6)
    assert choose_savings(sizes, side * side, available_memory(card(), entry.vram)) == Savings()
    assert choose_savings(sizes, side * side, available_memory(card(), entry.vram_min)).placement == least
    assert sum(sizes.parts) < entry.memory
    # A process beside a card has all weights in main memory while blocks take turns, a block of page-locked memory that is not full, and
    # the libraries.
    assert sum(sizes.parts) + BLOCK_BYTES + 2**30 <= (entry.load_memory or 2 * 2**30)


def test_every_image_entry_of_the_catalogue_has_valid_options():
    entries = [entry for entry in load_catalogue().values() if entry.service == "image_generation"]
    assert {entry.name for entry in entries if entry.kind == "model"} == set(LOADED)
    for entry in entries:
        model_options(Model(entry.name, Path("models"), options=entry.options))
    assert load_catalogue()["untrained-diffusion"].repository is None


PUBLISHED = [
    "model_index.json", "README.md", "all.safetensors", "ae.safetensors", "example_workflow.json",
    "text_encoders/t5xxl_fp16.safetensors", "vae_1_0/diffusion_pytorch_model.safetensors",
    *(f"{part}/config.json" for part in ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")),
    *(
        f"{part}/diffusion_pytorch_model{kind}"
        for part in ("unet", "vae")
        for kind in (".safetensors", ".fp16.safetensors", ".bin", ".non_ema.safetensors", ".onnx")
    ),
    *(f"transformer/diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)),
    *(f"{part}/model{kind}" for part in ("text_encoder", "text_encoder_2") for kind in (".safetensors", ".fp16.safetensors")),
    *(f"text_encoder_3/model{kind}-00001-of-00001.safetensors" for kind in ("", ".fp16")),
    "tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer_2/spiece.model",
]  # fmt: skip
"""All forms of duplicates that the repositories have been seen to contain: whole checkpoints, other precisions, other engines."""


@pytest.mark.parametrize("name", sorted(set(LOADED) - {"untrained-diffusion"}))
def test_the_patterns_of_the_catalogue_leave_duplicates_out(name):
    """Only diffusers' folders; and of parts that are published in half precision too, one form."""
    entry = load_catalogue()[name]
    chosen = [file for file in PUBLISHED if is_included(file, entry.patterns)]
    weights = [file for file in chosen if file.endswith(".safetensors")]
    assert {"model_index.json", "tokenizer/vocab.json", "tokenizer/merges.txt", "vae/config.json"} <= set(
        chosen
    )
    assert all(
        file.count("/") == 1 and not file.startswith(("text_encoders/", "vae_1_0/")) for file in weights
    )
    assert entry.size
    if name in ("stable-diffusion-1.5", "sdxl", "sdxl-turbo"):
        assert {file.split(".")[1] for file in weights} == {"fp16"}
        assert sum(file.startswith("unet/") for file in weights) == 1
    elif name.startswith("stable-diffusion-3.5"):
        assert not any("fp16" in file for file in weights)
    if name.endswith(("-q4", "-q8")):
        assert not any(file.startswith("transformer/") for file in weights)
        assert [pattern.endswith(".gguf") for one in entry.additions for pattern in one.patterns] == [True]


def test_torch_may_take_the_budget_without_cudas_own_share():
    assert memory_fraction(None, 24 * GIB) == 1
    assert memory_fraction(12 * GIB + CONTEXT_BYTES, 24 * GIB) == 0.5
    assert memory_fraction(48 * GIB, 24 * GIB) == 1
    assert memory_fraction(0, 24 * GIB) == 0
