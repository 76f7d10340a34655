"""Invalid image jobs, the files of a model, and the use of a card's memory, without an engine."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from pydantic import ValidationError

from agent.configuration import load_catalogue
from agent.core.machine.catalogue import is_included
from runners.api import Device, Fail, Model, Retry
from runners.stable_diffusion.files import examine
from runners.stable_diffusion.images import MAX_INPUT_BYTES, fitted, preview, read_image, read_mask
from runners.stable_diffusion.memory import (
    Savings,
    Sizes,
    available_memory,
    choose_savings,
    needs_tiling,
    precision,
    working_bytes,
)
from runners.stable_diffusion.pipeline import model_options
from runners.stable_diffusion.request import Abilities, GenerateRequest, ModelOptions, decide
from runners.torch_memory import CONTEXT_BYTES, memory_fraction

URL = "https://example.com/picture.png"
GIB = 2**30
SD15 = Abilities(side=512, steps=25, guidance=7.5)
FLUX = Abilities(
    side=1024,
    side_step=16,
    negative_prompt=False,
    schedulers=False,
    prompt_tokens=512,
    steps=28,
    guidance=3.5,
)
FLUX2 = Abilities(side=1024, strength=False, inpainting=False)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": ""}, "at least 1 character"),
        ({"prompt": "x" * 4001}, "at most 4000"),
        ({"model": "../../etc"}, "pattern"),
        ({"size": "512"}, "pattern"),
        ({"size": "512x500"}, "multiples of 8 between 64 and 2048"),
        ({"size": "4096x64"}, "multiples of 8 between 64 and 2048"),
        ({"size": "56x64"}, "multiples of 8 between 64 and 2048"),
        ({"num_images": 9}, "less than or equal to 8"),
        ({"steps": 151}, "less than or equal to 150"),
        ({"guidance": float("nan")}, "finite"),
        ({"seed": 2**32}, "less than or equal"),
        ({"scheduler": "magic"}, "Input should be 'ddim'"),
        ({"mask_url": URL}, "mask_url requires image_url"),
        ({"strength": 0.5}, "strength requires image_url"),
        ({"image_url": URL, "strength": 0}, "greater than 0"),
        ({"quality": 80}, "quality has no effect on png"),
        ({"loras": [{"name": "a"}, {"name": "a"}]}, "twice"),
        ({"loras": [{"name": f"l{number}"} for number in range(5)]}, "at most 4"),
        ({"loras": [{"name": "../lora"}]}, "pattern"),
        ({"output_format": "gif"}, "'png', 'jpeg' or 'webp'"),
        ({"cache": 0}, "greater than 0"),
        ({"sampler": "euler"}, "Extra inputs"),
    ],
)
def test_an_invalid_request_is_refused_with_a_remedy(fields, words):
    with pytest.raises(ValidationError) as caught:
        GenerateRequest(**{"prompt": "a cat", **fields})
    assert words in str(caught.value)


def decided(abilities=SD15, options=None, picture=None, **fields):
    request = GenerateRequest(**{"prompt": "a cat", **fields})
    return decide(request, abilities, ModelOptions.model_validate(options or {}), 5, picture)


@pytest.mark.parametrize(
    ("abilities", "fields", "words"),
    [
        (FLUX, {"negative_prompt": "dog"}, "does not support negative_prompt"),
        (FLUX, {"scheduler": "euler"}, "omit scheduler"),
        (FLUX, {"size": "512x520"}, "multiples of 16"),
        (Abilities(side=1024, guided=False), {"guidance": 2}, "guidance of .* is built in"),
        (SD15, {"negative_prompt": "dog", "guidance": 1}, "negative_prompt has no effect; raise guidance"),
        (SD15, {"cache": 0.1}, "does not support cache"),
        (FLUX2, {"image_url": URL, "strength": 0.5}, "does not support strength"),
        (FLUX2, {"image_url": URL, "mask_url": URL}, "does not support mask_url"),
        (Abilities(side=64, variations=False), {"image_url": URL}, "does not support image_url"),
    ],
)
def test_a_parameter_without_effect_is_refused(abilities, fields, words):
    with pytest.raises(Fail, match=words):
        decided(abilities, **fields)


def test_a_request_overrides_the_catalogue_and_the_catalogue_overrides_the_family():
    options = {"steps": 4, "guidance": 0, "scheduler": "lcm"}
    decision = decided(options=options, steps=9, scheduler="ddim", seed=1)
    assert (decision.steps, decision.guidance, decision.scheduler, decision.seed) == (9, 0, "ddim", 1)
    left_open = decided(options={"guidance": 0})
    assert (left_open.steps, left_open.guidance, left_open.scheduler, left_open.seed) == (25, 0, None, 5)
    turbo = ModelOptions(steps=1).changed_by(ModelOptions(steps=4, scheduler="lcm"))
    assert (turbo.steps, turbo.scheduler, turbo.guidance) == (4, "lcm", None)


@pytest.mark.parametrize(
    ("picture", "sides"),
    [((512, 512), (512, 512)), ((4000, 3000), (592, 440)), ((30, 20), (624, 416)), ((9000, 10), (2048, 64))],
)
def test_a_variation_has_about_the_shape_of_its_picture(picture, sides):
    found = decided(picture=picture, image_url=URL)
    assert (found.width, found.height, found.strength) == (*sides, 0.75)
    assert decided(picture=picture, image_url=URL, mask_url=URL).strength == 1


def test_invalid_catalogue_options_are_a_machine_fault(tmp_path):
    with pytest.raises(Retry, match="invalid at steps"):
        model_options(Model("odd", tmp_path, options={"steps": 0}))


def png(width, height, content=b"", depth=8, colour=2):
    """Return a PNG file with any header."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def damaged(content):
    """Return the PNG with another checksum of the pixels, which is before the last chunk's twelve bytes."""
    return content[:-16] + b"\0\0\0\0" + content[-12:]


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


SURFACE = Image.linear_gradient("L").convert("RGB")

HOSTILE = {
    "bomb": (png(30_000, 30_000, zlib.compress(b"\0" * 10_000)), "more than 40 megapixels"),
    "huge": (png(2**31 - 1, 2**31 - 1), "more than 40 megapixels|not a complete"),
    "truncated": (encoded(SURFACE, "PNG")[:400], "not a complete PNG"),
    "half a jpeg": (encoded(SURFACE, "JPEG")[:1500], "not a complete PNG"),
    "half a webp": (encoded(Image.effect_noise((64, 64), 99), "WEBP")[:900], "not a complete PNG"),
    "too little": (png(64, 64, zlib.compress(b"\0" * 10)), "not a complete PNG"),
    "wrong checksum": (damaged(png(64, 64, zlib.compress(bytes(64 * 193)))), "not a complete PNG"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>', "not a complete PNG"),
    "html": (b"<!doctype html><title>404</title>", "not a complete PNG"),
    "empty": (b"", "not a complete PNG"),
    "gif": (encoded(SURFACE, "GIF"), "not a complete PNG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a complete PNG"),
    "deep": (encoded(Image.new("I;16", (64, 64)), "PNG"), "8 bits per channel"),
    "large": (b"\x89PNG\r\n\x1a\n" + b"\0" * MAX_INPUT_BYTES, "larger than 32 MiB"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_invalid_picture_is_refused(kind, tmp_path):
    content, words = HOSTILE[kind]
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(Fail, match=f"image_url: .*({words})"):
        read_image(path, "image_url")


MODES = {"PNG": ("1", "L", "LA", "P", "RGB", "RGBA"), "JPEG": ("L", "RGB", "CMYK"), "WEBP": ("RGB", "RGBA")}


@pytest.mark.parametrize(("form", "mode"), [(form, mode) for form in MODES for mode in MODES[form]])
def test_every_common_kind_of_picture_is_read(form, mode, tmp_path):
    path = tmp_path / "any"
    SURFACE.convert(mode).save(path, form)
    image = read_image(path, "image_url")
    assert (image.mode, image.size) == ("RGB", (256, 256))
    assert image.getpixel((128, 0)) != image.getpixel((128, 255))


def test_a_picture_is_rotated_upright_and_composed_on_white(tmp_path):
    turned = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg", "image_url").size == (20, 40)
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png", "image_url").getpixel((0, 0)) == (255, 255, 255)


def test_picture_and_mask_are_cropped_alike(tmp_path):
    picture = Image.new("RGB", (300, 100), "black")
    ImageDraw.Draw(picture).rectangle((150, 0, 299, 99), "white")
    picture.save(tmp_path / "picture.png")
    image = read_image(tmp_path / "picture.png", "image_url")
    mask = read_mask(tmp_path / "picture.png", image.size)
    assert fitted(image, 64, 64).convert("L").tobytes() == fitted(mask, 64, 64).tobytes()


def test_the_noisiest_preview_is_small_enough():
    assert len(preview(Image.effect_noise((512, 512), 255).convert("RGB"))) <= 64_000


def test_a_preview_has_the_shape_of_its_picture():
    wide = Image.new("RGB", (512, 128))
    preview(wide)
    assert wide.size == (256, 64)


@pytest.fixture
def repository(tmp_path):
    """Make a model's directory with files by path; the weights' content is never read."""

    def make(files, index=None):
        parts = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
        content = {"_class_name": "StableDiffusionPipeline", **parts} if index is None else index
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "model_index.json").write_text(json.dumps(content))
        return Model("tested", tmp_path)

    return make


WEIGHTS = "diffusion_pytorch_model"


def names(model):
    found = examine(model)
    return found.variant, [path.relative_to(model.path).as_posix() for path in found.weights]


def test_the_reported_weights_are_the_loaded_files(repository):
    """Without weights in half precision, other formats, unused parts, or a whole checkpoint at the top."""
    model = repository(
        [
            f"unet/{WEIGHTS}.safetensors", f"unet/{WEIGHTS}.fp16.safetensors", f"unet/{WEIGHTS}.bin",
            f"unet/{WEIGHTS}.non_ema.safetensors", f"vae/{WEIGHTS}.safetensors", "all.safetensors",
            "safety_checker/model.safetensors",
        ],
        {
            "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.1",
            "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
            "image_encoder": [None, None],
        },
    )  # fmt: skip
    assert names(model) == (None, [f"unet/{WEIGHTS}.safetensors", f"vae/{WEIGHTS}.safetensors"])


def test_half_precision_and_shards_are_found(repository):
    shards = [f"unet/{WEIGHTS}.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
    model = repository([*shards, f"vae/{WEIGHTS}.safetensors"])
    assert names(model) == ("fp16", [*shards, f"vae/{WEIGHTS}.safetensors"])


@pytest.mark.parametrize(
    ("files", "index", "words"),
    [
        ([f"unet/{WEIGHTS}.bin", f"vae/{WEIGHTS}.safetensors"], None, "part 'unet' are pickles"),
        ([f"unet/{WEIGHTS}.ckpt"], None, "are pickles"),
        ([], None, "no weights"),
        (
            [],
            {"_class_name": "StableVideoDiffusionPipeline"},
            "StableVideoDiffusionPipeline has no denoiser",
        ),
        ([], {"_class_name": ["my_pipeline", "MyPipeline"]}, "no class of diffusers"),
        (["unet/my_unet.py"], {"_class_name": "FluxPipeline", "unet": ["my_unet", "Net"]}, "its own code"),
        ([], {"_class_name": "FluxPipeline", "../unet": ["diffusers", "Net"]}, "is not one that"),
        ([], {"_class_name": "FluxPipeline", "vae": ["diffusers", "os.system"]}, "its own code"),
        ([], {"_class_name": "FluxPipeline", "tokenizer": ["transformers", "AutoTokenizer"]}, "its own code"),
        ([], {"_class_name": "FluxPipeline", "controlnet": ["diffusers", "Net"]}, "is not one that"),
        (["a.gguf", "unet/b.gguf"], None, "several GGUF files"),
        ([], ["no object"], "is not an object"),
    ],
)
def test_an_unsupported_model_is_refused_with_the_reason(repository, files, index, words):
    with pytest.raises(Retry, match=words) as caught:
        examine(repository(files, index))
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_the_error_about_a_missing_model_names_the_download_command(tmp_path):
    with pytest.raises(Retry, match="models pull absent"):
        examine(Model("absent", tmp_path / "absent"))


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
    "qwen-image-q4": ((13100, 16584, 254), 2180, "blocks"),
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
