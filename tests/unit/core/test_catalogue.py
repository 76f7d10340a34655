"""The catalogue of models, as a document and as shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.configuration import load_catalogue
from agent.core.errors import ConfigurationError
from agent.core.machine.catalogue import (
    DEFAULT_PATTERNS,
    CatalogueEntry,
    ModelFile,
    is_included,
    parse_catalogue,
)

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

SHA256 = "0" * 64
FILE = {"name": "model.pt", "url": "https://example.com/model.pt", "sha256": SHA256}


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


def test_every_shipped_whisper_checkpoint_has_the_digest_that_its_package_requires():
    whisper = pytest.importorskip("whisper")
    for entry in load_catalogue().values():
        if entry.service == "whisper_transcription":
            (file,) = entry.files
            assert file.url == whisper._MODELS[entry.name]
            assert file.sha256 in file.url


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
