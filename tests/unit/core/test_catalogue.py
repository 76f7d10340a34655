"""The catalogue of models, as a document and as shipped."""

from __future__ import annotations

from typing import Any

import pytest

from agent.configuration import load_catalogue
from agent.core.catalogue import CatalogueEntry, parse_catalogue
from agent.core.errors import ConfigurationError

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


def test_a_model_may_do_with_less_gpu_memory_than_it_likes():
    assert parse_one(vram="8Gi", vram_min="3Gi").vram_min == 3 * 2**30
    with pytest.raises(ConfigurationError, match="vram_min is more than vram"):
        parse_one(vram="1Gi", vram_min="2Gi")


@pytest.mark.parametrize("name", ["../tiny", "a/b", "/etc", "..", ".hidden", "", "a b", "x" * 101, "tiny\n"])
def test_a_name_that_could_be_a_path_is_refused(name: str):
    with pytest.raises(ConfigurationError, match=r"models\.0\.name"):
        parse_one(name=name)


def test_every_fault_is_named_with_its_place():
    with pytest.raises(ConfigurationError) as caught:
        parse_one(vram="1 GB", licence="", size=3)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].rpartition(" ")[2] for line in lines] == [
        "models.0.vram",
        "models.0.licence",
        "models.0.size",
    ]


def test_two_entries_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match=r"names 'tiny\.en' twice"):
        parse_catalogue({"models": [ENTRY, ENTRY]})


def test_the_shipped_catalogue_reads_and_callers_cannot_change_each_others():
    first = load_catalogue()
    assert first["tiny.en"].service == "whisper_transcription"
    first.clear()
    assert "tiny.en" in load_catalogue()
