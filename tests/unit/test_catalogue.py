"""The catalogue of models, as a document and as shipped."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

from agent.catalogue import (
    DEFAULT_PATTERNS,
    CatalogueEntry,
    ModelFile,
    is_included,
    load_catalogue,
    parse_catalogue,
)
from agent.core.errors import ConfigurationError
from runners.whisper.base import FILES
from runners.whisper.request import PARAKEET_ENGLISH_PREFIX, PARAKEET_PREFIX

ENTRY = {
    "name": "tiny.en",
    "service": "whisper_transcription",
    "engines": ["openai-whisper"],
    "repository": "openai/whisper-tiny.en",
    "vram": "1Gi",
    "memory": 2_000_000,
    "licence": "MIT",
    "description": "Small.",
}

SHA256 = "0" * 64
FILE = {"name": "model.pt", "url": "https://example.com/model.pt", "sha256": SHA256}


def parse_one(**changes: Any) -> CatalogueEntry:
    (entry,) = parse_catalogue({"models": [ENTRY | changes]}).values()
    return entry


def test_sizes_are_bytes_written_as_numbers_or_quantities():
    assert parse_one() == CatalogueEntry(
        name="tiny.en",
        service="whisper_transcription",
        engines=("openai-whisper",),
        repository="openai/whisper-tiny.en",
        vram=2**30,
        memory=2_000_000,
        vram_min=2**30,
        licence="MIT",
        description="Small.",
    )


def test_a_model_can_declare_a_smaller_minimum_of_gpu_memory():
    assert parse_one(vram="8Gi", vram_min="3Gi").vram_min == 3 * 2**30
    with pytest.raises(ConfigurationError, match="vram_min is larger than vram"):
        parse_one(vram="1Gi", vram_min="2Gi")


@pytest.mark.parametrize("name", ["../tiny", "a/b", "/etc", "..", ".hidden", "", "a b", "x" * 101, "tiny\n"])
def test_a_name_that_could_be_a_path_is_refused(name: str):
    with pytest.raises(ConfigurationError, match=r"models\.0\.name"):
        parse_one(name=name)


def test_every_error_is_reported_with_its_location():
    with pytest.raises(ConfigurationError) as caught:
        parse_one(vram="1 GB", licence="", weight=3)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].rpartition(" ")[2] for line in lines] == [
        "models.0.vram",
        "models.0.licence",
        "models.0.weight",
    ]


def test_two_entries_with_the_same_name_are_refused():
    with pytest.raises(ConfigurationError, match=r"contains 'tiny\.en' twice"):
        parse_catalogue({"models": [ENTRY, ENTRY]})


def test_the_shipped_catalogue_loads_and_callers_get_separate_copies():
    first = load_catalogue()
    assert first["tiny.en"].service == "whisper_transcription"
    first.clear()
    assert "tiny.en" in load_catalogue()


# How models are fetched -------------------------------------------------------------------------------------------------


def test_an_entry_with_a_repository_or_files_is_fetchable_but_not_one_with_a_directory():
    assert parse_one().fetchable
    files = parse_one(repository=None, files=[FILE | {"size": "75M"}])
    assert files.fetchable
    assert files.files == (ModelFile("model.pt", FILE["url"], SHA256, 75_000_000),)
    assert not parse_one(repository=None).fetchable
    local = parse_one(repository=None, path="/srv/model")
    assert (local.fetchable, local.path) == (False, "/srv/model")


@pytest.mark.parametrize(
    ("changes", "location"),
    [
        ({"path": "/srv/model"}, "leave out repository and files"),
        ({"path": "relative", "repository": None}, r"models\.0\.path"),
        ({"repository": None, "patterns": ["*.gguf"]}, "need a repository"),
        ({"repository": None, "revision": "main"}, "need a repository"),
        ({"repository": None, "digests": {"model.bin": SHA256}}, "need a repository"),
        ({"digests": {"model.bin": "abc"}}, r"digests\.model\.bin"),
        ({"patterns": ["model.bin"]}, "may run code when they are loaded"),
        ({"engines": ["faster-whisper"], "patterns": ["*.bin"]}, "may run code when they are loaded"),
        ({"files": [FILE | {"engine": "faster-whisper"}]}, "not one of the model's engines"),
        ({"repository": "../../etc"}, r"models\.0\.repository"),
        ({"revision": "a b"}, r"models\.0\.revision"),
        ({"patterns": []}, r"models\.0\.patterns"),
        ({"patterns": ["*.json", "pytorch_model*.BIN"]}, "may run code when they are loaded"),
        ({"files": [FILE, FILE]}, "two files have the same name"),
        ({"files": [FILE | {"name": "../model.pt"}]}, r"files\.0\.name"),
        ({"files": [FILE | {"name": ".hidden"}]}, r"files\.0\.name"),
        ({"files": [FILE | {"url": "file:///etc/passwd"}]}, r"files\.0\.url"),
        ({"files": [FILE | {"sha256": "abc"}]}, r"files\.0\.sha256"),
        ({"files": [{"name": "a", "url": "https://example.com/a"}]}, r"files\.0\.sha256"),
    ],
)
def test_an_entry_that_cannot_be_fetched_safely_is_refused(changes: dict[str, Any], location: str):
    with pytest.raises(ConfigurationError, match=location):
        parse_one(**changes)


@pytest.mark.parametrize(
    ("name", "included"),
    [
        ("model.safetensors", True), ("unet/diffusion_pytorch_model.safetensors", True), ("a/b/tokenizer.model", True),
        ("model.Q4.gguf", True), ("merges.txt", True), ("pytorch_model.bin", False), ("model.PT", False),
        ("modeling.py", False), ("README.md", False), (".gitattributes", False), ("../model.safetensors", False),
        ("/etc/model.json", False), ("a//b.json", False), (".git/config.json", False), ("a\\..\\b.json", False),
    ],
)  # fmt: skip
def test_only_weights_without_code_and_vocabularies_are_downloaded_from_a_repository(
    name: str, included: bool
):
    assert is_included(name, DEFAULT_PATTERNS) is included
    assert not is_included("model.bin", ["*"])


def test_ctranslate2s_weights_are_downloaded_for_the_engine_that_reads_them():
    """By name: a pattern that matches them does not suffice, and files of the same name elsewhere are other files."""
    patterns = ("model.bin", "config.json")
    assert parse_one(engines=["faster-whisper", "other"], patterns=patterns).patterns == patterns
    assert is_included("model.bin", patterns)
    assert not is_included("text/model.bin", patterns)
    assert not is_included("text/model.bin", [*patterns, "*"])


def test_a_model_in_several_formats_is_that_of_the_best_installed_engine():
    entry = parse_one(
        engines=["faster-whisper", "openai-whisper"],
        patterns=["model.bin"],
        digests={"model.bin": SHA256},
        files=[FILE | {"engine": "openai-whisper"}],
    )
    for installed, needed in (
        ({"faster-whisper", "openai-whisper"}, {"model.bin"}),
        ({"openai-whisper"}, {"model.pt"}),
        (set(), {"model.bin"}),
    ):
        assert entry.for_engine(installed.__contains__).needed == needed
    both = parse_one(engines=["faster-whisper", "openai-whisper"], files=[FILE])
    assert both.for_engine({"openai-whisper"}.__contains__) == both


def speech_models() -> list[CatalogueEntry]:
    return [entry for entry in load_catalogue().values() if entry.service == "whisper_transcription"]


def whisper_models() -> list[CatalogueEntry]:
    return [entry for entry in speech_models() if "onnx-asr" not in entry.engines]


def test_every_shipped_parakeet_model_is_downloaded_in_one_precision_with_all_files_that_its_engine_needs():
    """And the name is one by which requests are validated."""
    models = [entry for entry in speech_models() if "onnx-asr" in entry.engines]
    assert len(models) == 4
    for entry in models:
        assert entry.name.startswith(PARAKEET_PREFIX)
        assert (entry.engines, entry.licence) == (("onnx-asr",), "CC-BY-4.0")
        formats = [set(names) for names in FILES["onnx-asr"] if set(names) == set(entry.patterns)]
        assert len(formats) == 1
        assert ("encoder-model.int8.onnx" in formats[0]) == entry.name.endswith("-int8")
        assert all(is_included(name, entry.patterns) for name in formats[0])
        version = entry.name.removesuffix("-int8")
        assert entry.repository == f"istupakov/{version}-onnx"
        assert version.startswith(PARAKEET_ENGLISH_PREFIX) == (
            "English only" in load_catalogue()[version].description
        )


def test_every_shipped_whisper_checkpoint_has_the_digest_that_its_package_requires():
    whisper = pytest.importorskip("whisper")
    checked = [entry for entry in whisper_models() if entry.files]
    assert {entry.name for entry in checked} >= set(whisper._MODELS)
    for entry in checked:
        (file,) = entry.for_engine("openai-whisper".__eq__).files
        assert file.url == whisper._MODELS[entry.name]
        assert file.sha256 in file.url


def test_every_shipped_whisper_model_can_be_fetched_for_faster_whisper():
    """From the commit and with the weights that the catalogue names. The demo's file has the shipped digest."""
    files = {"model.bin", "config.json", "tokenizer.json", "vocabulary.txt", "vocabulary.json"}
    for entry in whisper_models():
        assert entry.engines[0] == "faster-whisper"
        assert entry.for_engine("faster-whisper".__eq__).needed == {"model.bin"}
        assert all(is_included(name, entry.patterns) for name in files)
        assert not is_included("model.safetensors", entry.patterns)
        assert re.fullmatch("[0-9a-f]{40}", entry.revision or "")
    names = {entry.name for entry in whisper_models()}
    assert {"large-v3-turbo", "distil-large-v3", "distil-medium.en", "distil-small.en"} <= names
    models = Path(os.environ.get("AITBC_MODELS_DIR") or user_cache_path("aitbc") / "models")
    weights = (models / "tiny.en" / "model.bin").read_bytes()
    assert load_catalogue()["tiny.en"].digests == {"model.bin": hashlib.sha256(weights).hexdigest()}


def test_an_owners_entry_overrides_the_shipped_one(tmp_path: Path):
    assert load_catalogue(tmp_path) == load_catalogue()
    own = ENTRY | {"description": "Mine.", "repository": None, "path": "/srv/model"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in own.items() if value is not None]
    (tmp_path / "models.toml").write_text("\n".join(["[[models]]", *lines]))
    merged = load_catalogue(tmp_path)
    assert merged.keys() == load_catalogue().keys()
    assert (merged["tiny.en"].description, merged["tiny.en"].path) == ("Mine.", "/srv/model")
    assert load_catalogue()["tiny.en"].path is None
    (tmp_path / "models.toml").write_text("[[models]]\nname = 'x'\n")
    with pytest.raises(
        ConfigurationError, match=rf"{tmp_path}/models\.toml is invalid at models\.0\.service"
    ):
        load_catalogue(tmp_path)


def test_every_shipped_model_of_weights_in_gguf_that_was_not_compared_with_its_source_names_its_digests() -> (
    None
):
    """Then the first download proves what the list says, or fails. The digests of the rerankers are not published with their list."""
    unverified = [entry for entry in load_catalogue().values() if not entry.verified]
    assert len(unverified) > 20
    for entry in unverified:
        assert entry.licence, entry.name
        assert min(entry.vram, entry.memory) > 0, entry.name
        if "llama.cpp" in entry.engines and entry.service != "text_reranking":
            assert set(entry.digests) == set(entry.patterns), entry.name
