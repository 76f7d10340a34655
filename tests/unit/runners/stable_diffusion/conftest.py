"""Stable Diffusion with random weights, loaded once for all tests of a file."""

from __future__ import annotations

import importlib

import pytest
from PIL import Image

from runners.api import Device, Model
from runners.stable_diffusion import StableDiffusionRunner
from runners.stable_diffusion.request import GenerateRequest
from support.inputs.diffusion import NAME, make_lora, make_untrained


@pytest.fixture(scope="session")
def device():
    """One thread: with such small matrices, dividing the work costs more than it saves."""
    return Device("cpu", "test processor", threads=1)


@pytest.fixture(scope="session")
def tiny_pipelines():
    """The module that makes them. It imports the engines, which takes ten seconds in each process that does so."""
    return importlib.import_module("support.inputs.families")


@pytest.fixture(scope="module")
def untrained_diffusion(tmp_path_factory):
    return make_untrained(tmp_path_factory.mktemp("diffusion") / NAME)


@pytest.fixture(scope="module")
def model(untrained_diffusion):
    return Model(NAME, untrained_diffusion, options={"steps": 3})


@pytest.fixture(scope="module")
def lora(untrained_diffusion, tmp_path_factory):
    return Model("lora", make_lora(untrained_diffusion, tmp_path_factory.mktemp("lora")))


@pytest.fixture(scope="module")
def runner(model, device):
    """One runner for all tests, as in a child process that stays warm."""
    made = StableDiffusionRunner(None, device)
    made.load(model)
    yield made
    made.close()


@pytest.fixture
def generate(runner, make_context):
    def run(context=None, using=runner, **fields):
        request = GenerateRequest(
            **{"prompt": "a cat on a mat", "model": NAME, "size": "64x64", "seed": 7, **fields}
        )
        return using.run(request, context or make_context())

    return run


@pytest.fixture
def picture(tmp_path):
    """An input picture of 96 x 64 pixels with some structure."""
    image = Image.merge("RGB", [Image.radial_gradient("L").rotate(90 * turn) for turn in range(3)])
    image.resize((96, 64)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"
