"""The choice of Whisper's engine, and what each engine does with its model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from runners.api import Device, Model, Retry
from runners.whisper.engines import choose, open_engine
from runners.whisper.original import OpenAIWhisper, _Follower, halve
from runners.whisper.request import TranscribeRequest
from support.inputs.speech import SENTENCE

GPU = Device("cuda", "a card", uuid="GPU-1")


def model_with(directory: Path, *names: str) -> Model:
    directory.mkdir()
    for name in names:
        (directory / name).touch()
    return Model(directory.name, directory)


def test_faster_whisper_is_the_default_for_models_in_its_format(tmp_path, device):
    both = model_with(tmp_path / "both", "model.pt", "model.bin", "config.json")
    other = model_with(tmp_path / "other", "model.pt", "config.json")
    assert choose(both, device) == "faster-whisper"
    assert choose(other, device) == "openai-whisper"
    assert choose(model_with(tmp_path / "none"), device) == "faster-whisper"


def test_without_cublas_12_a_gpu_uses_the_other_engine(tmp_path):
    """CTranslate2 finds no cuBLAS here, and would notice it only in the middle of a job."""
    both = model_with(tmp_path / "both", "model.pt", "model.bin")
    assert choose(both, GPU) == "openai-whisper"
    assert choose(model_with(tmp_path / "one", "model.bin"), GPU) == "faster-whisper"
    with pytest.raises(Retry, match="nvidia-cublas-cu12") as caught:
        open_engine("faster-whisper", both, GPU)
    assert caught.value.code == "ENGINE_MISSING"


def test_cublas_12_is_loaded_from_its_package(tmp_path):
    """Afterwards CTranslate2 finds it by its name alone, although the loader does not search its directory."""
    library = tmp_path / "nvidia" / "cublas" / "lib"
    library.mkdir(parents=True)
    for name in ("libcublasLt.so.12", "libcublas.so.12"):
        source = "int version(void) { return 12; }"
        command = [
            "gcc",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{name}",
            "-x",
            "c",
            "-",
            "-o",
            str(library / name),
        ]
        subprocess.run(command, input=source, text=True, check=True, timeout=120)
    code = (
        "import ctypes, sys\nfrom runners.whisper import cublas\n"
        "sys.path.append(sys.argv[1])\nassert cublas.load()\n"
        "assert ctypes.CDLL('libcublas.so.12').version() == 12\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)


class Text:
    """Listens to an engine for its text."""

    def __init__(self) -> None:
        self.text = ""

    def reached(self, seconds: float, language: str | None) -> None:
        pass

    def segment(self, segment: object, text: str) -> None:  # noqa: ARG002 - the listener's signature
        self.text += text


@pytest.mark.ship
def test_half_precision_halves_the_weights_and_not_the_text(models, device, samples):
    """On a CPU openai-whisper computes in single precision, also with such weights."""
    engine = OpenAIWhisper(Model("tiny.en", models / "tiny.en"), device)
    weights = list(engine._model.parameters())
    before = sum(weight.nbytes for weight in weights)
    halve(engine._model)
    assert sum(weight.nbytes for weight in engine._model.parameters()) < 0.51 * before
    import torch  # noqa: PLC0415 - ten seconds, only where it runs

    assert {weight.dtype for weight in engine._model.parameters()} == {torch.float16, torch.float32}
    listener = Text()
    engine.transcribe(samples, TranscribeRequest(audio_url="https://a.b/c", model="tiny.en"), listener)
    assert listener.text.strip() == SENTENCE


@pytest.mark.ship
def test_faster_whisper_needs_no_torch(models, samples, tmp_path):
    """Nor does its process import it where it is installed, which would take a second and 200 MB."""
    np.save(tmp_path / "samples.npy", samples)
    code = (
        "import sys\nsys.modules['torch'] = None\nimport pathlib, numpy\n"
        "from runners.api import Device, Model\nfrom runners.whisper.engines import open_engine\n"
        "from runners.whisper.request import TranscribeRequest\n"
        "class Printer:\n"
        "    def reached(self, seconds, language): pass\n"
        "    def segment(self, segment, text): print(segment['text'])\n"
        "model = Model('tiny.en', pathlib.Path(sys.argv[1]))\n"
        "engine = open_engine('faster-whisper', model, Device('cpu', 'processor'))\n"
        "request = TranscribeRequest(audio_url='https://a.b/c', model='tiny.en')\n"
        "engine.transcribe(numpy.load(sys.argv[2]), request, Printer())\n"
    )
    command = [sys.executable, "-c", code, str(models / "tiny.en"), str(tmp_path / "samples.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.strip() == SENTENCE, done.stderr


@pytest.mark.parametrize(
    ("temperature", "likelihood", "ratio", "spans"),
    [
        (0.0, -0.5, 1.5, []),
        (0.0, -0.95, 1.5, [(0.0, 30.0)]),
        (0.0, -0.5, 2.3, [(0.0, 30.0)]),
        (0.2, -0.95, 1.5, []),
    ],
)
def test_openais_engine_reports_windows_whose_text_depends_on_chance(temperature, likelihood, ratio, spans):
    """Close to Whisper's thresholds another machine discards the text and draws one. Only the first decoding counts."""
    found = []
    decoded = SimpleNamespace(temperature=temperature, avg_logprob=likelihood, compression_ratio=ratio)
    listener = SimpleNamespace(
        reached=lambda *_: None, doubtful=lambda start, end: found.append((start, end))
    )
    assert _Follower(lambda _: decoded, listener)("a window") is decoded
    assert found == spans
