"""Invalid image jobs, the files of a model, and the use of a card's memory, without an engine."""

from __future__ import annotations

import io
import json
import struct
import zlib

import pytest
from PIL import Image, ImageDraw
from pydantic import ValidationError

from runners.api import Fail, Model, Retry
from runners.stable_diffusion.files import examine
from runners.stable_diffusion.images import MAX_INPUT_BYTES, fitted, preview, read_image, read_mask
from runners.stable_diffusion.pipeline import model_options
from runners.stable_diffusion.request import Abilities, GenerateRequest, ModelOptions, decide

URL = "https://example.com/picture.png"
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


def test_memory_that_a_picture_takes_is_not_the_machines_fault(tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", full)
    with pytest.raises(Fail, match="image_url: reading the picture takes too much memory"):
        read_image(tmp_path / "a.png", "image_url")
