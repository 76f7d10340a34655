"""Pictures of one miner, compared by another."""

from __future__ import annotations

import pytest
from PIL import Image

from runners.stable_diffusion.comparer import distances
from runners.stable_diffusion.request import GenerateRequest
from support.audited import audited, calibration, published
from support.inputs.diffusion import NAME

pytestmark = pytest.mark.ship

LIMITS = {"pixels": 0.001, "tile": 0.002}


@pytest.fixture
def audit(runner, make_context):
    """Audit the result of a request; return the comparison."""

    def run(result, request, **changes):
        known = calibration("image_generation", "diffusers", "float32", **LIMITS)
        work = audited(result, calibrations=[known], **changes)
        return runner.audit(request, work, make_context()).comparison

    return run


def test_the_same_seed_passes_and_a_step_less_does_not(runner, generate, audit, make_context):
    fields = {
        "prompt": "a cat on a mat",
        "model": NAME,
        "size": "64x64",
        "seed": 7,
        "steps": 4,
        "num_images": 2,
    }
    request = GenerateRequest(**fields)
    honest = runner.run(request, make_context())
    found = audit(honest, request)
    assert (found.verdict, found.distances["pixels"], found.limits) == ("pass", 0, LIMITS)
    claims = {"settings": published(honest.results)["settings"]}
    lazy = generate(**{**fields, "steps": 3})
    lied = audit(lazy, request, claims=claims)
    assert lied.verdict == "fail"
    assert lied.where.startswith(("image 0, tile ", "image 1, tile "))
    admitted = audit(lazy, request)
    assert (admitted.verdict, admitted.where) == ("fail", "steps")
    unasked = audit(
        lazy, request.model_copy(update={"steps": None})
    )  # the catalogue's default is 3 steps here
    assert unasked.verdict == "pass"
    other = audit(honest, request.model_copy(update={"steps": None}))
    assert (other.verdict, other.where) == ("unproven", "steps")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"claims": {"images": []}}, "results"),
        ({"claims": {"images": "none"}}, "results"),
        ({"files": {}}, "image 0"),
    ],
)
def test_malformed_results_fail(generate, audit, changes, where):
    request = GenerateRequest(prompt="a cat on a mat", model=NAME, size="64x64", seed=7)
    found = audit(generate(steps=1), request, **changes)
    assert (found.verdict, found.where) == ("fail", where)


def test_another_seed_or_size_fails(generate, audit, tmp_path):
    request = GenerateRequest(prompt="a cat on a mat", model=NAME, size="64x64", seed=7, steps=1)
    made = generate(steps=1)
    assert audit(generate(steps=1, seed=8), request).reason == "The picture's seed is 8 instead of 7."
    Image.new("RGB", (32, 32)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    name = made.results["images"][0].name
    for file in ("small.png", "broken.png"):
        assert audit(made, request, files={name: tmp_path / file}).verdict == "fail"


def test_distances_name_the_worst_tile():
    flat = Image.new("RGB", (100, 70), (100, 100, 100))
    spotted = flat.copy()
    spotted.paste((151, 151, 151), (64, 32, 96, 64))
    found, where = distances(flat, spotted)
    assert where == "tile 64,32"
    assert found["tile"] == pytest.approx(0.2)
    assert found["pixels"] == pytest.approx(0.2 * 32 * 32 / 7000)
    assert distances(flat, flat)[0] == {"pixels": 0.0, "tile": 0.0, "structure": 0.0}
