"""Diffusers' families on tiny pipelines with random weights: the pictures are noise, all else is as with trained weights."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image, ImageChops

from runners.api import Fail, Model, Retry
from runners.stable_diffusion import StableDiffusionRunner
from runners.stable_diffusion.memory import Savings
from runners.stable_diffusion.pinning import pin
from runners.stable_diffusion.placement import measure, modules, move
from runners.stable_diffusion.request import GenerateRequest, decide
from support.inputs.diffusion import pixels

pytestmark = pytest.mark.system

URL = "https://example.com/picture.png"
FAMILIES = (
    "StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline", "Flux2KleinPipeline", "QwenImagePipeline", "ZImagePipeline",
)  # fmt: skip
FLOW_MATCHING = [name for name in FAMILIES if name != "StableDiffusionXLPipeline"]
WITHOUT_STRENGTH = ["Flux2KleinPipeline"]


@pytest.fixture(scope="module")
def families(tiny_pipelines, tmp_path_factory):
    """The directory of each family's pipeline, made at its first use."""
    assert tiny_pipelines.FAMILIES.keys() == set(FAMILIES)
    made = {}

    def directory(family):
        if family not in made:
            made[family] = tiny_pipelines.make_family(family, tmp_path_factory.mktemp("family") / family)
        return made[family]

    return directory


@pytest.fixture(scope="module")
def load(families, device):
    """Load a family's pipeline once for all tests, or again for other options."""
    loaded = {}

    def get(family, **options):
        key = family, json.dumps(options)
        if key not in loaded:
            loaded[key] = StableDiffusionRunner(None, device)
            loaded[key].load(Model("tiny", families(family), options=options))
        return loaded[key]

    yield get
    for runner in loaded.values():
        runner.close()


@pytest.fixture
def draw(make_context, picture, tmp_path):
    """Run a request on a runner; return the result and its context."""
    mask = tmp_path / "mask.png"
    Image.linear_gradient("L").resize((96, 64)).save(mask)

    def run(runner, **fields):
        context = make_context({"image_url": picture, "mask_url": mask})
        request = {"prompt": "a cat", "model": "tiny", "size": "64x96", "steps": 2, "seed": 1, **fields}
        return runner.run(GenerateRequest(**request), context), context

    return run


@pytest.mark.ship
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_makes_pictures_from_text_with_previews(load, draw, family, monkeypatch):
    monkeypatch.setattr("runners.stable_diffusion.runner.PREVIEW_SECONDS", 0)
    monkeypatch.setattr("runners.stable_diffusion.runner.PREVIEW_SHARE", 1e9)
    runner = load(family)
    made, context = draw(runner)
    assert made.results["images"][0].extra == {"seed": 1, "width": 64, "height": 96}
    assert len(set(context.reported)) == 3
    assert context.events[0][0] == "preview"
    assert pixels(draw(runner)[0]) == pixels(made), "the same seed"
    changes = ({"seed": 2}, {"prompt": "a dog"}, {"guidance": 30}, {"steps": 3})
    others = [pixels(draw(runner, **change)[0])[0] for change in changes]
    assert len({*pixels(made), *others}) == 5
    assert "warnings" not in made.results
    assert "warnings" in draw(runner, prompt="cat " * 900, steps=1)[0].results


@pytest.mark.ship
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_makes_pictures_from_pictures(load, draw, family):
    """With a strength where the family has one, which rounds steps down; FLUX.2 edits instead, without a mask."""
    runner = load(family)
    made, _ = draw(runner)
    varied, context = draw(runner, image_url=URL)
    assert pixels(varied) != pixels(made)
    if family in WITHOUT_STRENGTH:
        assert len(set(context.reported)) == 3
        assert varied.results["settings"]["strength"] is None
        for field in ({"strength": 0.5}, {"mask_url": URL}):
            with pytest.raises(Fail, match=f"does not support {next(iter(field))}"):
                draw(runner, image_url=URL, **field)
        return
    assert len(set(context.reported)) == 2
    inside, context = draw(runner, image_url=URL, mask_url=URL, strength=0.5)
    assert len(set(context.reported)) == 2
    assert len({*pixels(made), *pixels(varied), *pixels(inside)}) == 3


@pytest.mark.ship
@pytest.mark.parametrize("family", FAMILIES)
def test_a_preview_of_the_finished_latents_is_the_picture(load, family):
    """Families arrange and scale their latents in ways of their own."""
    loaded = load(family)._loaded
    request = GenerateRequest(prompt="a cat", model="tiny", size="64x96", steps=2)
    generation = decide(request, loaded.abilities, loaded.options, 1, None)
    sketches = []
    drawn = loaded.draw(request, generation, 1, {}, lambda step: sketches.append(step.sketch()))
    assert max(high for _, high in ImageChops.difference(sketches[-1], drawn).getextrema()) <= 1
    assert sketches[0].tobytes() != drawn.tobytes()


@pytest.mark.parametrize("family", FLOW_MATCHING)
def test_parameters_that_a_family_does_not_have_are_refused(load, draw, family):
    for fields, words in (
        ({"scheduler": "euler"}, "omit scheduler"),
        ({"size": "64x72"}, "multiples of 16"),
    ):
        with pytest.raises(Fail, match=words):
            draw(load(family), **fields)


def test_sdxl_has_the_schedulers_of_stable_diffusion(load, draw):
    runner = load("StableDiffusionXLPipeline")
    assert pixels(draw(runner, scheduler="unipc")[0]) != pixels(draw(runner)[0])


@pytest.mark.parametrize(
    ("family", "supported"),
    [
        ("FluxPipeline", False),
        ("Flux2KleinPipeline", False),
        ("QwenImagePipeline", True),
        ("ZImagePipeline", True),
    ],
)
def test_a_negative_prompt_changes_the_picture_or_is_refused(load, draw, family, supported):
    runner = load(family)
    if not supported:
        with pytest.raises(Fail, match="does not support negative_prompt"):
            draw(runner, negative_prompt="a dog")
        return
    assert pixels(draw(runner, negative_prompt="a dog")[0]) != pixels(draw(runner)[0])


def test_the_defaults_are_diffusers_own_and_the_catalogue_overrides_them(load):
    """FLUX.1 28 steps and 3.5, Qwen-Image 50 and 4, which diffusers calls `true_cfg_scale`."""
    found = {family: load(family)._loaded.abilities for family in ("FluxPipeline", "QwenImagePipeline")}
    assert {family: (each.steps, each.guidance) for family, each in found.items()} == {
        "FluxPipeline": (28, 3.5), "QwenImagePipeline": (50, 4.0),
    }  # fmt: skip


@pytest.mark.ship
@pytest.mark.parametrize("family", ["FluxPipeline", "ZImagePipeline"])
def test_the_pictures_of_a_request_share_one_encoding_and_equal_those_made_alone(load, draw, family):
    runner = load(family)
    encoder = runner._loaded._base.text_encoder
    runs = []
    hook = encoder.register_forward_hook(lambda *_: runs.append(1))
    together, _ = draw(runner, num_images=3)
    shared = len(runs)
    alone = [pixels(draw(runner, seed=seed)[0])[0] for seed in (1, 2, 3)]
    hook.remove()
    assert pixels(together) == alone
    assert len(runs) == 4 * shared, "a request of three pictures encodes as often as one of one picture"


@pytest.mark.ship
def test_fp8_weights_take_less_memory_and_are_named_in_the_results(load, draw):
    """A quarter of 32 bits each, except FLUX's modulation, which diffusers leaves in full and is half of this tiny model."""
    plain, small = load("FluxPipeline"), load("FluxPipeline", quantization="fp8")
    before, after = (runner._loaded._denoiser.transformer_blocks for runner in (plain, small))
    assert _bytes(after) < 0.55 * _bytes(before)
    made, exact = draw(small)[0], draw(plain)[0]
    assert made.results["settings"]["quantization"] == "fp8"
    assert _differs_slightly(made, exact)
    record = Image.open(made.results["images"][0].path).text
    assert json.loads(record["aitbc"])["quantization"] == "fp8"
    assert "Quantization: fp8" in record["parameters"]


@pytest.fixture(scope="module")
def quantised(tiny_pipelines, families, tmp_path_factory):
    """FLUX.1 whose denoiser is a GGUF file instead of safetensors."""
    return tiny_pipelines.make_gguf(families("FluxPipeline"), tmp_path_factory.mktemp("gguf") / "model")


@pytest.mark.ship
def test_a_gguf_denoiser_stays_quantised_and_is_named_in_the_results(load, draw, device, quantised):
    runner = StableDiffusionRunner(None, device)
    model = Model("tiny", quantised)
    runner.load(model)
    made, exact = draw(runner)[0], draw(load("FluxPipeline"))[0]
    assert made.results["settings"]["quantization"] == "gguf-Q8_0"
    assert _differs_slightly(made, exact)
    assert "flux-Q8_0.gguf" in [path.name for path in runner.weights(model)]
    dense = load("FluxPipeline")._loaded._denoiser
    assert _bytes(runner._loaded._denoiser) < 0.4 * _bytes(dense)


@pytest.mark.ship
@pytest.mark.parametrize("form", ["none", "fp8", "gguf"])
def test_blocks_that_take_turns_make_the_same_picture(load, draw, device, families, quantised, form):
    """In this test they are moved from the CPU to the CPU, out of blocks of ordinary memory."""
    model = {
        "none": Model("tiny", families("FluxPipeline")),
        "fp8": Model("tiny", families("FluxPipeline"), options={"quantization": "fp8"}),
        "gguf": Model("tiny", quantised),
    }[form]
    runner = StableDiffusionRunner(None, device)
    runner.load(model)
    whole = pixels(draw(runner)[0])
    runner._loaded._savings = Savings("blocks")
    pin(modules(runner._loaded._base).values(), lambda size: torch.empty(size, dtype=torch.uint8))
    move(runner._loaded._base, runner._loaded._savings, "cpu")
    first = runner._loaded._denoiser.transformer_blocks[0]
    assert first._diffusers_hook.get_hook("group_offloading") is not None, "the blocks take turns"
    assert pixels(draw(runner)[0]) == whole
    sizes = measure(runner._loaded._base, form)
    assert 0 < sizes.blocks < sum(sizes.parts)
    assert measure(runner._loaded._base, "nf4").blocks is None


@pytest.mark.ship
def test_caching_skips_blocks_changes_the_picture_and_ends_with_the_request(load, draw):
    runner = load("FluxPipeline")
    second = runner._loaded._denoiser.transformer_blocks[1]
    steps = []
    hook = second.attn.register_forward_hook(lambda *_: steps.append(1))
    before, _ = draw(runner, steps=8)
    assert len(steps) == 8
    cached, _ = draw(runner, steps=8, cache=1.0, num_images=2)
    assert len(steps) < 8 + 2 * 8
    assert cached.results["settings"]["cache"] == 1.0
    assert pixels(cached)[0] != pixels(before)[0]
    second_alone, _ = draw(runner, steps=8, cache=1.0, seed=2)
    assert pixels(second_alone)[0] == pixels(cached)[1]
    again, _ = draw(runner, steps=8)
    hook.remove()
    assert pixels(again) == pixels(before)
    with pytest.raises(Fail, match="does not support cache"):
        draw(load("StableDiffusion3Pipeline"), cache=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantization": "nf4"}, "nf4 needs an NVIDIA GPU"),
        ({"quantization": "int2"}, "invalid at quantization"),
    ],
)
def test_a_quantisation_that_cannot_run_here_is_refused_with_a_remedy(families, device, options, words):
    with pytest.raises(Retry, match=words) as caught:
        StableDiffusionRunner(None, device).load(Model("tiny", families("FluxPipeline"), options=options))
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_a_pipeline_that_makes_no_pictures_from_text_is_refused_before_it_is_read(families, device, tmp_path):
    index = json.loads((families("FluxPipeline") / "model_index.json").read_text())
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").touch()
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "_class_name": "LTXPipeline"}))
    with pytest.raises(Retry, match="LTXPipeline is not one of diffusers' pipelines"):
        StableDiffusionRunner(None, device).load(Model("tiny", tmp_path))


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer", "transformer"])
@pytest.mark.parametrize("named", ["by its configuration", "by the pipeline"])
def test_code_in_a_models_directory_is_never_run(device, tiny_pipelines, tmp_path, part, named):
    """Neither the class that a part's `auto_map` names, nor one that the pipeline's index names."""
    model = tiny_pipelines.make_family("ZImagePipeline", tmp_path / "model")
    (model / part / "hostile.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Hostile: pass\n")
    if named == "by the pipeline":
        index = json.loads((model / "model_index.json").read_text())
        (model / "model_index.json").write_text(json.dumps({**index, part: ["hostile", "Hostile"]}))
    for file in (model / part).glob("*config.json"):
        hostile = dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "hostile.Hostile")
        file.write_text(json.dumps({**json.loads(file.read_text()), "auto_map": hostile}))
    try:
        StableDiffusionRunner(None, device).load(Model("tiny", model))
    except Retry as error:
        assert error.code == "MODEL_UNAVAILABLE"  # noqa: PT017 - refusing is as good as ignoring
    assert not (tmp_path / "ran").exists()


def _bytes(module):
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())


def _differs_slightly(one, other):
    """Whether two results' pictures differ, by a few of 256 grey levels on average."""
    images = [Image.open(result.results["images"][0].path).convert("RGB") for result in (one, other)]
    histogram = ImageChops.difference(*images).convert("L").histogram()
    mean = sum(level * count for level, count in enumerate(histogram)) / sum(histogram)
    return 0 < mean < 8
