"""The setup puts a diffusion model with random weights into the models directory."""

from __future__ import annotations

import json

import pytest

from support.scripts import script

pytestmark = pytest.mark.system


@pytest.fixture
def fetch_models(monkeypatch, tmp_path):
    """The setup script without its downloads, for the test's own directory."""
    monkeypatch.setenv("AITBC_MODELS_DIR", str(tmp_path / "models"))
    script("untrained_diffusion")  # the other one imports it
    module = script("fetch_models")
    monkeypatch.setattr(module, "PACKAGES", ())
    return module


def test_the_model_is_made_once_and_again_if_it_is_outdated(fetch_models, tmp_path, capsys):
    model = tmp_path / "models" / "untrained-diffusion"
    assert fetch_models.main() == 0
    assert "its images are noise" in capsys.readouterr().out
    source = json.loads((model / "source.json").read_text())
    assert source["made_by"] == "scripts/untrained_diffusion.py"
    assert sum(file.stat().st_size for file in model.rglob("*.safetensors")) < 5_000_000

    made = model.stat().st_ino
    assert fetch_models.main() == 0
    assert model.stat().st_ino == made, "a current model is not created again"

    (model / "source.json").write_text(json.dumps({**source, "version": "0"}))
    (model / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"old")
    assert fetch_models.main() == 0
    assert (model / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size > 1_000_000
    assert [path.name for path in model.parent.iterdir() if path.name.startswith(".fetching-")] == []


def test_its_weights_are_the_same_each_time(tmp_path):
    for name in ("one", "other"):
        script("untrained_diffusion").make(tmp_path / name)
    one, other = (sorted((tmp_path / name).rglob("*.safetensors")) for name in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert len(one) == 3
