"""The locations of models, and the digests of their weights in receipts."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import rfc8785

from agent.catalogue import CatalogueEntry
from agent.miner.models.store import ModelStore, ModelUnknown
from runners.api import Model, Retry


def entry(name: str, service: str = "whisper_transcription") -> CatalogueEntry:
    return CatalogueEntry(name, service, ("engine",), f"somebody/{name}", 0, 0, 0, "MIT", "")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    catalogue = {name: entry(name) for name in ("tiny.en", "base", "large")}
    return ModelStore(tmp_path, catalogue | {"chatty": entry("chatty", "llm_inference")})


def put(store: ModelStore, name: str, content: bytes = b"weights") -> Path:
    (store.models_dir / name).mkdir()
    path = store.models_dir / name / "model.bin"
    path.write_bytes(content)
    return path


def test_a_name_resolves_to_its_directory_and_repository(store: ModelStore):
    assert store.resolve("tiny.en") == Model(
        "tiny.en", store.models_dir / "tiny.en", "somebody/tiny.en", engines=("engine",)
    )


@pytest.mark.parametrize("name", ["unknown", "../tiny.en", "/etc/passwd", "tiny.en/", ""])
def test_an_unknown_name_is_refused_for_a_retry_elsewhere(store: ModelStore, name: str):
    with pytest.raises(ModelUnknown) as caught:
        store.resolve(name)
    assert isinstance(caught.value, Retry)
    assert caught.value.code == "MODEL_UNKNOWN"


def test_only_models_with_files_are_on_disk(store: ModelStore):
    put(store, "large")
    put(store, "tiny.en")
    put(store, "chatty")
    put(store, "not-in-the-catalogue")
    (store.models_dir / "base").mkdir()
    (store.models_dir / "base" / ".incomplete").touch()
    assert store.on_disk("whisper_transcription") == ["tiny.en", "large"]
    assert store.on_disk("llm_inference") == ["chatty"]
    assert ModelStore(store.models_dir / "missing", store.catalogue).on_disk("llm_inference") == []


def test_one_file_has_its_own_digest_and_several_that_of_their_list(store: ModelStore):
    one, two = put(store, "tiny.en", b"one"), put(store, "base", b"two")
    digests = [hashlib.sha256(content).hexdigest() for content in (b"one", b"two")]
    assert store.digest([one]) == digests[0]
    assert store.digest([one, two]) == hashlib.sha256(rfc8785.dumps(digests)).hexdigest()
    assert store.digest([two, one]) != store.digest([one, two])
    with pytest.raises(ValueError, match="without weight files"):
        store.digest([])


def test_a_file_is_hashed_once_even_by_another_agent(store: ModelStore):
    path = put(store, "tiny.en", b"before")
    known = store.digest([path])
    times = path.stat()
    path.write_bytes(b"BEFORE")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ModelStore(store.models_dir, store.catalogue).digest([path]) == known


@pytest.mark.parametrize(("content", "later"), [(b"longer than before", 0), (b"BEFORE", 1_000_000)])
def test_a_changed_file_is_hashed_again(store: ModelStore, content: bytes, later: int):
    """It is detected by its size or its modification time."""
    path = put(store, "tiny.en", b"before")
    store.digest([path])
    changed = path.stat().st_mtime_ns + later
    path.write_bytes(content)
    os.utime(path, ns=(changed, changed))
    assert store.digest([path]) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("content", ["", "[1]", '{"PATH": 3}', '{"PATH": [1, 2, 3]}', "\x00"])
def test_a_damaged_cache_costs_only_time(store: ModelStore, content: str):
    path = put(store, "tiny.en")
    (store.models_dir / ".digests.json").write_text(content.replace("PATH", str(path)))
    assert store.digest([path]) == hashlib.sha256(b"weights").hexdigest()


def test_removed_files_leave_the_cache(store: ModelStore):
    first, second = put(store, "tiny.en"), put(store, "base")
    store.digest([first])
    first.unlink()
    store.digest([second])
    assert list(json.loads((store.models_dir / ".digests.json").read_text())) == [str(second)]


def test_a_directory_that_cannot_be_written_still_gives_digests(store: ModelStore, tmp_path: Path):
    path = put(store, "tiny.en")
    elsewhere = ModelStore(tmp_path / "missing", store.catalogue)
    assert elsewhere.digest([path]) == hashlib.sha256(b"weights").hexdigest()


def test_concurrent_threads_leave_one_complete_cache(store: ModelStore):
    paths = [put(store, name, name.encode()) for name in ("tiny.en", "base", "large", "chatty")]
    found: dict[Path, set[str]] = {path: set() for path in paths}
    threads = [
        threading.Thread(target=lambda path=path: found[path].add(store.digest([path]))) for path in paths * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(found[path] == {hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths)
    assert set(json.loads((store.models_dir / ".digests.json").read_text())) == {str(path) for path in paths}
    assert [path.name for path in store.models_dir.glob(".digests.json*")] == [".digests.json"]


def test_two_jobs_that_start_together_hash_a_file_once(store: ModelStore, monkeypatch: pytest.MonkeyPatch):
    path = put(store, "tiny.en")
    hashed: list[str] = []
    second = threading.Event()
    real = hashlib.file_digest

    def file_digest(file: io.BufferedReader, name: str) -> object:
        if hashed:
            second.set()
        hashed.append(name)
        second.wait(0.3)  # time for the other thread to do the same, if no lock prevents it
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    threads = [threading.Thread(target=store.digest, args=([path],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert hashed == ["sha256"]


def test_a_model_of_many_files_reads_the_cache_once(store: ModelStore, monkeypatch: pytest.MonkeyPatch):
    """Otherwise a model of 500 files would cost seconds before each receipt."""
    (store.models_dir / "large").mkdir()
    paths = [store.models_dir / "large" / f"{number}.safetensors" for number in range(500)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number)
    counted: list[str] = []
    load, save = json.loads, json.dump
    monkeypatch.setattr(json, "loads", lambda *given: counted.append("load") or load(*given))
    monkeypatch.setattr(json, "dump", lambda *given: counted.append("save") or save(*given))
    first = store.digest(paths)
    assert counted.count("save") == 1
    counted.clear()
    assert store.digest(paths) == store.known_digest(paths) == first
    assert counted == ["load", "load"]


def test_cached_digests_do_not_wait_for_others_being_computed(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
):
    """A job whose model is cached continues while ten gigabytes of another are hashed."""
    known, new = put(store, "tiny.en"), put(store, "base")
    digest = store.digest([known])
    hashing, go_on = threading.Event(), threading.Event()
    real = hashlib.file_digest

    def file_digest(file: io.BufferedReader, name: str) -> object:
        hashing.set()
        assert go_on.wait(60)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    other = threading.Thread(target=store.digest, args=([new],))
    other.start()
    try:
        assert hashing.wait(60)
        assert store.digest([known]) == digest
        assert store.known_digest([new]) is None
    finally:
        go_on.set()
        other.join(60)


def test_a_model_in_the_owners_catalogue_is_at_the_path_of_its_entry(store: ModelStore, tmp_path: Path):
    mine = ModelStore(store.models_dir, {"mine": replace(entry("mine"), path=str(tmp_path / "elsewhere"))})
    assert mine.on_disk("whisper_transcription") == []
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.bin").touch()
    assert mine.on_disk("whisper_transcription") == ["mine"]
    assert mine.resolve("mine").path == tmp_path / "elsewhere"
