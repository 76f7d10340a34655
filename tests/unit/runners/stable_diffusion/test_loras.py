"""LoRAs: a request's adapters are attached to the model for one run."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from runners.api import Fail, Model, Retry
from runners.stable_diffusion.request import adapters
from support.inputs.diffusion import contents, make_lora, pixels, with_loras

pytestmark = pytest.mark.system


def test_a_lora_changes_the_picture_and_is_removed_afterwards(generate, make_context, runner, model, lora):
    before = contents(generate())
    alone = [path.name for path in runner.weights(model)]
    changed = generate(with_loras(make_context, lora), loras=[{"name": "lora"}])
    assert pixels(changed) != pixels(generate())
    weaker = generate(with_loras(make_context, lora), loras=[{"name": "lora", "scale": 0.5}])
    assert runner.weights(model)[-1] == lora.path / "pytorch_lora_weights.safetensors"
    assert pixels(weaker) != pixels(changed)
    assert contents(generate()) == before
    assert [path.name for path in runner.weights(model)] == alone == [
        "model.safetensors", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors",
    ]  # fmt: skip


@pytest.mark.ship
def test_several_loras_add_up_and_have_their_own_defaults(
    generate, make_context, untrained_diffusion, lora, tmp_path
):
    directory = make_lora(untrained_diffusion, tmp_path / "second", seed=2)
    second = Model("second", directory, options={"steps": 2, "scheduler": "lcm", "guidance": 1.0})
    names = ["lora", "second"]
    context = with_loras(make_context, lora, second)
    both = generate(context, loras=[{"name": name} for name in names])
    record = json.loads(Image.open(both.results["images"][0].path).text["aitbc"])
    assert (record["steps"], record["scheduler"], record["guidance"]) == (2, "lcm", 1.0)
    one = generate(with_loras(make_context, second), loras=[{"name": "second"}])
    assert pixels(one) != pixels(both)
    assert adapters({"loras": [{"name": name, "scale": 1} for name in names]}) == ("lora", "second")


def test_a_lora_of_another_model_is_refused_and_removed(
    generate, make_context, tmp_path, untrained_diffusion
):
    """One with matrices of another width, and one with layers that do not exist."""
    import torch  # noqa: PLC0415 - ten seconds, only where it runs
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - as above

    before = contents(generate())
    weights = load_file(make_lora(untrained_diffusion, tmp_path / "a") / "pytorch_lora_weights.safetensors")
    misfits = {
        "wide": {
            name: torch.cat([value, value], 1 if "lora_A" in name else 0) for name, value in weights.items()
        },
        "foreign": {"transformer.blocks.0.lora_A.weight": torch.zeros(4, 8)},
    }
    for name, content in misfits.items():
        (tmp_path / name).mkdir()
        save_file(content, tmp_path / name / "pytorch_lora_weights.safetensors")
        with pytest.raises(Fail, match="made for another model"):
            generate(with_loras(make_context, Model(name, tmp_path / name)), loras=[{"name": name}])
    assert contents(generate()) == before


def test_a_missing_or_damaged_lora_is_a_machine_fault(generate, make_context, tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "any_name.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    for here in ([], [Model("lora", tmp_path)], [Model("lora", tmp_path / "damaged")]):
        with pytest.raises(Retry) as caught:
            generate(with_loras(make_context, *here), loras=[{"name": "lora"}])
        assert caught.value.code == "MODEL_UNAVAILABLE"
