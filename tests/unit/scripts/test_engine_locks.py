"""The lock files of engines: those that are shipped, and the script that writes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent.configuration import configuration_directory
from agent.miner.engines.catalogue import InstallableEngine, Variant, load_engines, parse_engines
from miner_support.wheels import HOST_PACKAGES, Index, build, repack

SCRIPT = Path(__file__).parents[3] / "scripts/engine_locks.py"
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)")
VARIANTS = [(engine, variant) for engine in load_engines().values() for variant in engine.variants.values()]
IMPORTED = {"pydantic", "pyseccomp", "psutil"}


def pinned(variant: Variant) -> dict[str, str]:
    """Return the versions of a lock file by package, the last one of several."""
    lines = [line for line in variant.lock_text().splitlines() if line[:1].isalnum()]
    return {found["name"]: found["version"] for found in map(PIN.match, lines) if found is not None}


@pytest.mark.parametrize(
    ("engine", "variant"), VARIANTS, ids=[f"{engine.name}-{variant.name}" for engine, variant in VARIANTS]
)
def test_a_shipped_lock_file_pins_its_engine_by_digest_and_names_no_index(
    engine: InstallableEngine, variant: Variant
) -> None:
    text = variant.lock_text()
    packages = pinned(variant)
    for wanted in variant.packages:
        name, _, version = wanted.partition("==")
        name = re.match(r"[a-z0-9-]+", name)[0]
        assert packages.get(name) == (version or packages.get(name)), (
            f"{wanted} is not in the lock file of {engine.name}"
        )
        assert name in packages
    assert packages.keys() >= IMPORTED
    assert not packages.keys() & set(variant.exclude)
    assert "://" not in text
    for entry in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert " --hash=sha256:" in entry, entry


def test_vllm_brings_nothing_that_compiles_with_nvcc_when_it_starts() -> None:
    """Machines with a driver lack nvcc. With FlashInfer, vLLM 0.33 prefers it for attention on cards with capability 10, also without nvcc."""
    (variant,) = (variant for engine, variant in VARIANTS if (engine.name, variant.name) == ("vllm", "cuda"))
    assert not [name for name in pinned(variant) if "flashinfer" in name]


def test_no_lock_file_is_left_over() -> None:
    files = {path.name for path in (configuration_directory() / "engines").iterdir()}
    assert files == {variant.lock.name for _, variant in VARIANTS}


@pytest.mark.system
def test_the_script_locks_an_owners_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the owner's index, which is not written down, what the agent's host needs, and without what is excluded."""
    for name in os.environ:
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    build(wheels, "tiny-engine", "1.0", {"tiny_engine.py": b""}, requires=("tiny-part", "tiny-noise"))
    for name in ("tiny-part", "tiny-noise"):
        build(wheels, name, "2.0", {f"{name.replace('-', '_')}.py": b""})
    for name in HOST_PACKAGES:
        repack(wheels, name)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    catalogue = tmp_path / "engines.toml"
    catalogue.write_text(
        '[[engines]]\nname = "tiny"\nservices = []\ndescription = "Does little."\nlicence = "MIT"\n'
        'modules = ["tiny_engine"]\ncheck = "import tiny_engine"\n'
        f'[engines.variants.any]\npython = ["{version}"]\npackages = ["tiny-engine"]\nsize = "1Mi"\nexclude = ["tiny-noise"]\n'
    )
    with Index(wheels).serving() as index:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("UV_FIND_LINKS", index.url)
        monkeypatch.setenv("UV_NO_INDEX", "1")
        subprocess.run([sys.executable, SCRIPT, "--file", catalogue, "tiny"], check=True, timeout=300)
    text = (tmp_path / "engines/tiny-any.txt").read_text()
    assert text.startswith("# tiny, any: written by scripts/engine_locks.py from engines.toml.")
    assert re.search(r"tiny-engine==1\.0 \\\n    --hash=sha256:[0-9a-f]{64}\n", text)
    assert "tiny-part==2.0" in text
    assert "tiny-noise" not in text
    assert "pydantic==" in text
    assert "://" not in text


def test_the_guides_engine_is_valid(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs/how-to/engines.md").read_text()
    document = re.search(r"```toml\n(# engines\.toml\n.*?)```", guide, re.DOTALL)
    assert document is not None
    (engine,) = parse_engines(tomllib.loads(document[1]), tmp_path / "engines.toml").values()
    assert engine.variant(cuda=True).lock == tmp_path / "engines/llama.cpp-cuda.txt"
