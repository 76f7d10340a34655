"""ControlNets: pictures from text that follow the structure of another picture."""

from __future__ import annotations

import pytest
from PIL import Image
from pydantic import ValidationError

from runners.api import Fail, Model, Retry
from runners.stable_diffusion import StableDiffusionRunner
from runners.stable_diffusion.memory import Savings
from runners.stable_diffusion.placement import move
from runners.stable_diffusion.request import GenerateRequest, adapters
from support.inputs.diffusion import NAME, contents, pixels

pytestmark = pytest.mark.ship

URL = "https://example.com/edges.png"
REQUEST = {"prompt": "a cat on a mat", "size": "64x64", "seed": 7, "steps": 2, "control_url": URL}


@pytest.fixture(scope="module")
def control(tiny_pipelines, untrained_diffusion, tmp_path_factory):
    return Model(
        "edges", tiny_pipelines.make_control(untrained_diffusion, tmp_path_factory.mktemp("control"))
    )


@pytest.fixture
def draw(make_context, picture):
    def run(runner, *here, file=picture, **fields):
        context = make_context({"control_url": file})
        context.adapters = {adapter.name: adapter for adapter in here}
        request = {**REQUEST, "model": runner._model.name, "control": {"name": "edges"}, **fields}
        return runner.run(GenerateRequest(**request), context)

    return run


def test_a_picture_follows_its_control_which_is_removed_afterwards(
    draw, generate, runner, model, control, tmp_path
):
    before = contents(generate())
    Image.new("RGB", (96, 64), "orange").save(tmp_path / "other.png")
    made = draw(runner, control)
    assert runner.weights(model)[-1] == control.path / "diffusion_pytorch_model.safetensors"
    others = (
        draw(runner, control, file=tmp_path / "other.png"),
        draw(runner, control, control={"name": "edges", "scale": 0.3}),
        generate(steps=2),
    )
    assert len({*pixels(made), *(pixels(other)[0] for other in others)}) == 4
    assert contents(draw(runner, control, num_images=2))[0] == contents(made)[0]
    assert contents(generate()) == before


def test_a_transformer_has_controls_of_its_own(draw, device, control, tiny_pipelines, tmp_path):
    flux = tiny_pipelines.make_family("FluxPipeline", tmp_path / "flux")
    edges = Model("edges", tiny_pipelines.make_control(flux, tmp_path / "edges"))
    runner = StableDiffusionRunner(None, device)
    runner.load(Model("tiny", flux))
    weaker = {"name": "edges", "scale": 0.1}
    assert pixels(draw(runner, edges)) != pixels(draw(runner, edges, control=weaker))
    with pytest.raises(Fail, match="made for another model"):
        draw(runner, control)


@pytest.mark.parametrize("placement", ["parts", "blocks"])
def test_a_model_that_saves_memory_follows_the_same_control(draw, runner, model, control, device, placement):
    """In this test, parts are moved from the CPU to the CPU."""
    thrifty = StableDiffusionRunner(None, device)
    thrifty.load(model)
    thrifty._loaded._savings = Savings(placement)
    move(thrifty._loaded._base, thrifty._loaded._savings, "cpu")
    for _ in range(2):
        assert contents(draw(thrifty, control)) == contents(draw(runner, control))


def test_a_control_of_a_wider_model_is_refused(draw, runner, tiny_pipelines, tmp_path):
    sdxl = tiny_pipelines.make_family("StableDiffusionXLPipeline", tmp_path / "sdxl")
    with pytest.raises(Fail, match="made for another model"):
        draw(runner, Model("edges", tiny_pipelines.make_control(sdxl, tmp_path / "edges")))


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (None, "config.json is missing"),
        ("[]", "config.json is missing"),
        ('{"_class_name": "os.system"}', "not a ControlNet"),
        ('{"_class_name": "ControlNetModel"}', "no weights"),
    ],
)
def test_what_is_not_a_control_is_a_machine_fault(draw, runner, tmp_path, configuration, words):
    if configuration is not None:
        (tmp_path / "config.json").write_text(configuration)
    with pytest.raises(Retry, match=words) as caught:
        draw(runner, Model("edges", tmp_path))
    assert caught.value.code == "MODEL_UNAVAILABLE"
    with pytest.raises(Retry, match="not on this machine"):
        draw(runner)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"control": {"name": "edges"}}, "belong together"),
        ({"control_url": URL}, "belong together"),
        ({"control": {"name": "edges"}, "control_url": URL, "image_url": URL}, "cannot be combined"),
    ],
)
def test_a_control_and_its_picture_belong_together(fields, words):
    with pytest.raises(ValidationError, match=words):
        GenerateRequest(prompt="a cat", model=NAME, **fields)
    parameters = {"loras": [{"name": "lora"}], "control": {"name": "edges"}}
    assert adapters(parameters) == ("lora", "edges")
    assert adapters({"control": None}) == ()
