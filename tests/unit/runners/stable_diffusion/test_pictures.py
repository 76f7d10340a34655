"""`image_generation` with real pipelines of random weights: the pictures are noise, all else is as with trained weights."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from decimal import Decimal
from typing import get_args

import pytest
from PIL import Image, ImageChops

from runners.api import Cancelled, Fail, Retry
from runners.host.protocol import Load, Run
from runners.stable_diffusion import StableDiffusionRunner
from runners.stable_diffusion.images import PREVIEW_BYTES, PREVIEW_SIDE
from runners.stable_diffusion.memory import Savings
from runners.stable_diffusion.placement import move
from runners.stable_diffusion.request import GenerateRequest, Scheduler
from support.inputs.diffusion import NAME, contents, pixels, with_loras

URL = "https://example.com/picture.png"


def test_a_seed_reproduces_a_picture(generate):
    """The files are equal, byte for byte; those of another seed differ."""
    assert contents(generate()) == contents(generate())
    assert pixels(generate()) != pixels(generate(seed=8))


def test_a_random_seed_is_reported(generate):
    first = generate(seed=None)
    seed = first.results["images"][0].extra["seed"]
    assert contents(generate(seed=seed)) == contents(first)
    assert generate(seed=None).results["images"][0].extra["seed"] != seed


def test_each_picture_of_a_job_can_be_reproduced_alone(generate):
    together = generate(num_images=3)
    alone = [contents(generate(seed=seed))[0] for seed in (7, 8, 9)]
    assert contents(together) == alone
    assert [image.extra for image in together.results["images"]] == [
        {"seed": seed, "width": 64, "height": 64} for seed in (7, 8, 9)
    ]
    assert together.units == Decimal(64 * 64 * 3 * 3) / 10**6


@pytest.mark.ship
@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a dog"},
        {"negative_prompt": "a dog"},
        {"steps": 4},
        {"guidance": 3},
        {"guidance": 0},
        {"size": "64x72"},
        {"size": None},
    ],
)
def test_each_parameter_changes_the_picture(generate, change):
    assert pixels(generate(**change)) != pixels(generate())


@pytest.mark.ship
def test_each_scheduler_makes_its_own_picture(generate):
    made = {scheduler: pixels(generate(steps=4, scheduler=scheduler))[0] for scheduler in get_args(Scheduler)}
    assert len(set(made.values())) == len(made)
    assert made["ddim"] == pixels(generate(steps=4))[0], "a scheduler stays for its run only"


def test_omitted_parameters_have_the_models_defaults(generate, runner):
    result = generate(size=None)
    record = json.loads(Image.open(result.results["images"][0].path).text["aitbc"])
    assert (record["width"], record["height"]) == (128, 128)
    assert (record["steps"], record["guidance"], record["scheduler"]) == (3, 7.5, "DDIMScheduler")
    assert result.units == Decimal(128 * 128 * 3) / 10**6


def test_the_units_are_those_of_the_requested_steps(generate, make_context, picture):
    """PNDM evaluates the model once more than it has steps."""
    assert generate(steps=4, scheduler="pndm").units == Decimal(64 * 64 * 4) / 10**6
    context = make_context({"image_url": picture})
    half = generate(context, steps=4, scheduler="pndm", image_url=URL, strength=0.5)
    assert half.units == Decimal(64 * 64 * 2) / 10**6
    assert context.reported[-1][1] == half.units


def test_more_steps_than_a_scheduler_supports_are_refused(generate):
    with pytest.raises(Fail, match="'lcm' does not support 60 steps"):
        generate(steps=60, scheduler="lcm")


def test_a_picture_is_the_start_of_another(generate, make_context, picture, tmp_path):
    """A higher strength performs and bills more steps; another input gives another picture."""
    other = tmp_path / "other.png"
    Image.new("RGB", (96, 64), "orange").save(other)

    def vary(file, **fields):
        return generate(make_context({"image_url": file}), image_url=URL, steps=4, **fields)

    mild, strong = vary(picture, strength=0.5), vary(picture, strength=1)
    assert (mild.units, strong.units) == (Decimal("0.008192"), Decimal("0.016384"))
    assert len({*pixels(mild), *pixels(strong), *pixels(vary(other, strength=0.5))}) == 3
    with pytest.raises(Fail, match="raise steps or strength"):
        vary(picture, strength=0.1)


def test_without_a_size_a_variation_has_the_pictures_shape(generate, make_context, picture):
    """At the model's own area, 128 x 128, rounded to supported sides."""
    result = generate(make_context({"image_url": picture}), image_url=URL, size=None)
    extra = result.results["images"][0].extra
    assert (extra["width"], extra["height"]) == (160, 104)


def test_every_pixel_outside_the_mask_is_unchanged(generate, make_context, picture, tmp_path):
    mask = Image.new("L", (96, 64), 0)
    mask.paste(255, (0, 0, 48, 64))
    mask.save(tmp_path / "mask.png")
    context = make_context({"image_url": picture, "mask_url": tmp_path / "mask.png"})
    result = generate(context, image_url=URL, mask_url=URL, size="96x64")
    drawn = Image.open(result.results["images"][0].path).convert("RGB")
    difference = ImageChops.difference(drawn, Image.open(picture))
    assert difference.crop((48, 0, 96, 64)).getbbox() is None
    assert difference.crop((0, 0, 48, 64)).getbbox() is not None
    assert result.units == Decimal(96 * 64 * 3) / 10**6, "the whole region is redrawn"


def test_a_mask_may_mark_its_region_by_transparency(generate, make_context, picture, tmp_path):
    """As OpenAI's clients do, for any colours below it."""
    mask = Image.open(picture).convert("RGBA")
    mask.paste((0, 0, 0, 0), (0, 0, 48, 64))
    mask.save(tmp_path / "mask.png")
    context = make_context({"image_url": picture, "mask_url": tmp_path / "mask.png"})
    request = {"image_url": URL, "mask_url": URL, "mask_region": "transparent", "size": "96x64"}
    drawn = Image.open(generate(context, **request).results["images"][0].path).convert("RGB")
    difference = ImageChops.difference(drawn, Image.open(picture))
    assert difference.crop((48, 0, 96, 64)).getbbox() is None
    assert difference.crop((0, 0, 48, 64)).getbbox() is not None
    with pytest.raises(Fail, match="no transparent region; erase"):
        generate(make_context({"image_url": picture, "mask_url": picture}), **request)


def test_a_mask_must_fit_its_picture(generate, make_context, picture, tmp_path):
    for name, size, level in (("large", (64, 64), 255), ("black", (96, 64), 0)):
        Image.new("L", size, level).save(tmp_path / f"{name}.png")
    for name, words in (("large", "must have the same size"), ("black", "no white region")):
        context = make_context({"image_url": picture, "mask_url": tmp_path / f"{name}.png"})
        with pytest.raises(Fail, match=words):
            generate(context, image_url=URL, mask_url=URL)


def test_a_png_contains_its_parameters(generate):
    result = generate(prompt="a cät", negative_prompt="dog", scheduler="euler_a", guidance=4)
    text = Image.open(result.results["images"][0].path).text
    assert text["parameters"] == (
        "a cät\nNegative prompt: dog\n"
        "Steps: 3, Sampler: euler_a, CFG scale: 4, Seed: 7, Size: 64x64, Model: untrained-diffusion"
    )
    record = json.loads(text["aitbc"])
    again = generate(
        **{name: record[name] for name in ("prompt", "negative_prompt", "scheduler", "guidance", "seed")}
    )
    assert contents(again) == contents(result)


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_other_formats_contain_their_parameters_in_exif_and_have_a_quality(generate, form):
    good = generate(output_format=form, quality=95).results["images"][0]
    poor = generate(output_format=form, quality=5).results["images"][0]
    image = Image.open(good.path)
    assert (image.format, good.media_type, good.name) == (form.upper(), f"image/{form}", f"image_0.{form}")
    assert poor.path.stat().st_size < good.path.stat().st_size
    comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment.startswith(b"UNICODE\0")
    assert comment[8:].decode("utf-16-be").startswith("a cat on a mat\nSteps: 3, Sampler: DDIMScheduler")


def test_progress_and_units_rise_with_each_step(generate, make_context):
    context = make_context()
    result = generate(context, num_images=2, steps=4)
    percents, units = zip(*context.reported, strict=True)
    assert len(percents) == 9
    assert list(percents) == sorted(set(percents))
    assert percents[4:6] == (50, 62.5)
    assert list(units) == [Decimal(64 * 64 * step) / 10**6 for step in range(9)]
    assert units[-1] == result.units


@pytest.mark.system
def test_previews_are_small_pictures_of_the_unfinished_picture(generate, make_context, monkeypatch):
    """One for each step except the last, which the picture itself follows; here without a minimum interval."""
    monkeypatch.setattr("runners.stable_diffusion.runner.PREVIEW_SECONDS", 0)
    monkeypatch.setattr("runners.stable_diffusion.runner.PREVIEW_SHARE", 1e9)
    context = make_context()
    generate(context, size="320x160", num_images=2, steps=3)
    previews = [data for kind, data in context.events if kind == "preview"]
    assert [(data["image_index"], data["step"], data["steps"]) for data in previews] == [
        (0, 1, 3), (0, 2, 3), (1, 1, 3), (1, 2, 3),
    ]  # fmt: skip
    for data in previews:
        assert len(data["image"]) <= PREVIEW_BYTES
        image = Image.open(io.BytesIO(base64.b64decode(data["image"])))
        assert (image.format, image.size, data["media_type"]) == ("JPEG", (PREVIEW_SIDE, 128), "image/jpeg")
    assert len({data["image"] for data in previews}) == 4


@pytest.mark.ship
def test_previews_are_limited_in_time(make_context, monkeypatch, model, device, generate):
    """Neither too often, nor if they would take more than their share of the time, also of a later job."""
    fresh = StableDiffusionRunner(None, device)
    fresh.load(model)
    monkeypatch.setattr("runners.stable_diffusion.runner.PREVIEW_SECONDS", 3600)
    context = make_context()
    generate(context, using=fresh, num_images=2)
    assert context.events == []
    monkeypatch.setattr("runners.stable_diffusion.runner.PREVIEW_SECONDS", 0)
    monkeypatch.setattr("runners.stable_diffusion.runner.PREVIEW_SHARE", 1e-9)
    for _ in range(2):
        generate(context, using=fresh, num_images=2)
    assert [(kind, data["step"]) for kind, data in context.events] == [("preview", 1)]


def test_a_cancelled_job_ends_between_two_steps(generate, make_context):
    before = contents(generate())
    context = make_context()
    context.on_progress = lambda: len(context.reported) == 3 and context.cancel()
    with pytest.raises(Cancelled):
        generate(context, steps=50)
    assert len(context.reported) == 3
    assert list(context.output.iterdir()) == []
    assert contents(generate()) == before


def test_a_prompt_that_is_too_long_causes_a_warning(generate, make_context):
    context = make_context()
    result = generate(context, prompt="cat " * 30)
    assert result.results["warnings"] == ["prompt has 92 tokens, of which the model reads the first 77."]
    assert {source for source, _ in context.lines} == {"diffusers"}
    model, warning, image = (line for _, line in context.lines)
    assert re.fullmatch(r"Model [\w-]+ in float32 on the CPU \(\d+ threads?\)\.", model)
    assert warning == result.results["warnings"][0]
    assert re.fullmatch(r"Image 1 of 1: seed \d+, \d+ steps at \d+x\d+ in \d+\.\d s\.", image)
    assert "warnings" not in generate().results


@pytest.mark.ship
@pytest.mark.parametrize("placement", ["parts", "blocks"])
def test_a_model_that_saves_memory_makes_the_same_picture(
    generate, make_context, model, device, lora, placement
):
    """In this test, parts are moved from the CPU to the CPU."""
    thrifty = StableDiffusionRunner(None, device)
    thrifty.load(model)
    thrifty._loaded._savings = Savings(placement, tiling=True)
    move(thrifty._loaded._base, thrifty._loaded._savings, "cpu")
    assert contents(generate(using=thrifty)) == contents(generate())
    context = make_context()
    context.on_progress = context.cancel
    with pytest.raises(Cancelled):
        generate(context, using=thrifty)
    assert contents(generate(using=thrifty)) == contents(generate())
    if placement == "blocks":  # diffusers moves parts back only to a GPU after a LoRA
        adapted = [
            contents(generate(with_loras(make_context, lora), using=one, loras=[{"name": "lora"}]))
            for one in (thrifty, StableDiffusionRunner(None, device))
            if one is thrifty or one.load(model) is None
        ]
        assert adapted[0] == adapted[1]


@pytest.mark.ship
def test_a_large_picture_is_decoded_in_tiles_if_memory_is_short(generate, model, device, runner):
    thrifty = StableDiffusionRunner(None, device)
    thrifty.load(model)
    thrifty._loaded._savings = Savings("whole", tiling=True)
    tiled, whole = (pixels(generate(using=one, size="640x64", steps=1))[0] for one in (thrifty, runner))
    assert tiled != whole
    assert sum(abs(one - other) for one, other in zip(tiled, whole, strict=True)) / len(whole) < 40


def test_a_wrong_model_is_a_machine_fault(generate):
    with pytest.raises(Retry) as caught:
        generate(model="another")
    assert caught.value.code == "MODEL_UNAVAILABLE"


@pytest.mark.ship
def test_a_closed_runner_loads_again(model, device, generate):
    runner = StableDiffusionRunner(None, device)
    runner.load(model)
    runner.close()
    with pytest.raises(Retry):
        generate(using=runner)
    runner.load(model)
    assert contents(generate(using=runner)) == contents(generate())


def test_the_benchmark_is_a_request(tools, tmp_path, generate, model):
    benchmark = StableDiffusionRunner.benchmark(tools, tmp_path)
    request = GenerateRequest(**benchmark.parameters, model=NAME)
    assert (request.num_images, benchmark.metric, benchmark.files) == (1, "megapixel-step/s", {})


def test_probe_imports_no_engine():
    code = (
        "import sys\nfrom runners.api import Tools\nfrom runners.stable_diffusion import StableDiffusionRunner as R\n"
        "probe = R.probe(Tools())\nassert probe.available, probe.reasons\nassert probe.version\n"
        "assert not {'torch', 'diffusers', 'transformers', 'PIL', 'numpy'} & set(sys.modules)\n"
        "sys.modules['diffusers'] = sys.modules['peft'] = None\nprobe = R.probe(Tools())\nassert not probe.available\n"
        "assert 'are missing: diffusers, peft. Install them' in probe.reasons[0], probe.reasons\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.ship
def test_through_the_child_process(start_child, tools, device, model, picture, tmp_path):
    """The results have the form of the API, and the prompt is not in the child's own output."""
    output, work = tmp_path / "output", tmp_path / "work"
    output.mkdir()
    work.mkdir()
    child = start_child("image_generation")
    child.configure(tools, device)
    child.send(Load(model=model))
    assert child.until("loaded", "error").type == "loaded"
    request = GenerateRequest(
        prompt="secretword " * 30, model=NAME, size="64x64", image_url=URL, num_images=2
    )
    child.send(
        Run(
            run_id="r",
            parameters=request.model_dump(mode="json"),
            files={"image_url": picture},
            output=output,
            work=work,
            timeout_seconds=300,
        )
    )
    done = child.until("done", "error")
    assert done.type == "done", done
    assert [image["$file"]["path"] for image in done.results["images"]] == ["image_0.png", "image_1.png"]
    first, second = (image["$file"]["extra"] for image in done.results["images"])
    assert (first["width"], second["seed"]) == (64, first["seed"] + 1)
    assert done.weights[0].name == "model.safetensors"
    child.connection.close()
    child.process.wait(60)
    assert b"secretword" not in child.process.stdout.read() + child.process.stderr.read()


def test_the_reference_request_is_accepted():
    request = GenerateRequest.model_validate(
        {
            "prompt": "A beautiful sunset over mountains",
            "model": "stable-diffusion-1.5",
            "size": "1024x1024",
            "num_images": 1,
            "steps": 20,
        }
    )
    assert (request.sides, request.num_images, request.steps) == ((1024, 1024), 1, 20)
    definition = StableDiffusionRunner.definition
    assert (definition.route, definition.model_field) == ("stable-diffusion/generate", "model")
    assert sorted(definition.file_fields()) == ["control_url", "image_url", "mask_url"]
