"""Models are fetched atomically and verified, from a simulated Hugging Face Hub over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.catalogue import parse_catalogue
from agent.core.values.quantities import Bytes
from agent.miner.models.downloads import DownloadLimits, Downloads
from agent.miner.models.locks import ModelDirectory, size_of
from agent.miner.models.store import ModelStore, ModelUnavailable, SourceUnreachable
from agent.miner.settings import NetworkSettings
from agent.miner.traffic import Traffic
from miner_support.hub import COMMIT, Hub, running_hub

MIB = 2**20
WEIGHTS = bytes(range(256)) * 4096 * 2  # 2 MiB
OTHER = WEIGHTS[::-1][:MIB]
CONFIG = b'{"model_type": "scripted"}'
REPOSITORY = "somebody/chatty"
TWO_RETRIES_AT_ONCE = {"retries": 2, "first_delay": 0.0}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with a model of four files, two of them large, and files that must not be fetched."""
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running_hub() as hub:
        hub.put(
            REPOSITORY, config_json=CONFIG, text__model_safetensors=WEIGHTS, unet__model_safetensors=OTHER,
            tokenizer_json=b"{}", pytorch_model_bin=b"x", modeling_py=b"x", _gitattributes=b"x", README_md=b"x",
        )  # fmt: skip
        yield hub


def make(models_dir: Path, hub: Hub, *more: dict[str, Any], **options: Any) -> tuple[ModelStore, Downloads]:
    entry = {"name": "chatty", "service": "llm_inference", "engines": ["e"], "licence": "MIT"}
    entries = [{**entry, "repository": REPOSITORY}, *({**entry, **other} for other in more)]
    installed = {name: options.pop(name) for name in ("is_installed",) if name in options}
    store = ModelStore(models_dir, parse_catalogue({"models": entries}), **installed)
    quota = options.pop("limits", DownloadLimits())
    settings = {"endpoint": hub.url, **TWO_RETRIES_AT_ONCE, **options}
    return store, Downloads(store, ModelDirectory(models_dir), quota, **settings)


def plain(hub: Hub, name: str, content: bytes, **changes: Any) -> dict[str, Any]:
    hub.plain[f"{name}.pt"] = content
    digest = hashlib.sha256(content).hexdigest()
    file = {"name": "model.pt", "url": f"{hub.url}/plain/{name}.pt", "sha256": digest, **changes}
    return {"name": name, "files": [file]}


def fetch(downloads: Downloads, name: str = "chatty", **options: Any) -> list[tuple[int, int | None]]:
    progress: list[tuple[int, int | None]] = []
    asyncio.run(
        asyncio.wait_for(
            downloads.fetch(name, lambda done, total: progress.append((done, total)), **options), 30
        )
    )
    return progress


def files(directory: Path) -> dict[str, bytes]:
    """Return the visible files below a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_repository_is_fetched_without_files_that_could_run_code(tmp_path: Path, hub: Hub) -> None:
    store, downloads = make(tmp_path / "models", hub)
    progress = fetch(downloads)
    assert files(tmp_path / "models" / "chatty") == {
        "config.json": CONFIG, "text/model.safetensors": WEIGHTS, "unet/model.safetensors": OTHER, "tokenizer.json": b"{}",
    }  # fmt: skip
    total = len(CONFIG) + len(WEIGHTS) + len(OTHER) + 2
    assert progress[-1] == (total, total)
    assert [done for done, _ in progress] == sorted({done for done, _ in progress})
    assert store.on_disk("llm_inference") == ["chatty"]
    mark = json.loads((tmp_path / "models/chatty/.fetched.json").read_bytes())
    assert (mark["repository"], mark["revision"]) == (REPOSITORY, COMMIT)
    assert fetch(downloads) == []
    assert sum(hub.served.values()) == total


def test_a_pattern_chooses_the_files(tmp_path: Path, hub: Hub) -> None:
    chosen = {"name": "part", "repository": REPOSITORY, "patterns": ["text/*", "*.json"]}
    _, downloads = make(tmp_path, hub, chosen)
    fetch(downloads, "part")
    assert set(files(tmp_path / "part")) == {"text/model.safetensors", "config.json", "tokenizer.json"}


SPEECH = {
    "name": "speech", "repository": "somebody/speech", "engines": ["faster-whisper", "openai-whisper"],
    "patterns": ["model.bin", "config.json", "vocabulary.*"],
}  # fmt: skip


def speech_model(hub: Hub, content: bytes = WEIGHTS) -> dict[str, Any]:
    """Return the entry of a model with a repository for one engine and a file for the other."""
    hub.put(
        "somebody/speech", config_json=CONFIG, model_bin=content, vocabulary_txt=b"a", tokenizer_json=b"{}"
    )
    file = plain(hub, "speech", OTHER, engine="openai-whisper")["files"]
    return {**SPEECH, "files": file, "digests": {"model.bin": hashlib.sha256(WEIGHTS).hexdigest()}}


def test_a_model_is_fetched_in_the_format_of_the_best_engine_and_then_in_the_other(
    tmp_path: Path, hub: Hub
) -> None:
    entry = speech_model(hub)
    only_other = make(tmp_path, hub, entry, is_installed="openai-whisper".__eq__)
    fetch(only_other[1], "speech")
    assert files(tmp_path / "speech") == {"model.pt": OTHER}
    store, downloads = make(tmp_path, hub, entry, is_installed=lambda _: True)
    assert (store.has("speech"), store.is_complete("speech")) == (True, False)
    fetch(downloads, "speech")
    expected = {"model.pt": OTHER, "model.bin": WEIGHTS, "config.json": CONFIG, "vocabulary.txt": b"a"}
    assert files(tmp_path / "speech") == expected
    assert store.is_complete("speech")
    assert fetch(downloads, "speech") == []


def test_weights_that_differ_from_the_catalogues_digest_are_refused(tmp_path: Path, hub: Hub) -> None:
    """Although they are what the Hub says they are."""
    _, downloads = make(tmp_path, hub, speech_model(hub, WEIGHTS[::-1]), is_installed=lambda _: True)
    with pytest.raises(ModelUnavailable, match=r"model\.bin"):
        fetch(downloads, "speech")
    assert not (tmp_path / "speech").exists()


def test_a_repository_without_a_file_of_the_catalogue_is_refused(tmp_path: Path, hub: Hub) -> None:
    entry = {**speech_model(hub), "patterns": ["config.json"]}
    _, downloads = make(tmp_path, hub, entry, is_installed=lambda _: True)
    with pytest.raises(ModelUnavailable, match=r"does not have model\.bin"):
        fetch(downloads, "speech")


def test_a_plain_file_is_checked_against_the_catalogue(tmp_path: Path, hub: Hub) -> None:
    store, downloads = make(tmp_path, hub, plain(hub, "small", WEIGHTS))
    progress = fetch(downloads, "small")
    assert files(tmp_path / "small") == {"model.pt": WEIGHTS}
    assert progress[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert store.known_digest([tmp_path / "small" / "model.pt"]) == hashlib.sha256(WEIGHTS).hexdigest()


def test_a_file_of_unknown_size_is_fetched(tmp_path: Path, hub: Hub) -> None:
    hub.sizes = False
    _, downloads = make(tmp_path, hub, plain(hub, "small", WEIGHTS))
    progress = fetch(downloads, "small")
    assert progress[0][1] is None
    assert files(tmp_path / "small") == {"model.pt": WEIGHTS}


def test_the_digests_of_fetched_files_are_cached(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first receipt does not require hashing them again."""
    store, downloads = make(tmp_path, hub)
    fetch(downloads)
    paths = [tmp_path / "chatty" / name for name in ("text/model.safetensors", "config.json")]
    known = store.known_digest(paths)
    (tmp_path / ".digests.json").unlink()
    assert store.known_digest(paths) is None
    assert store.digest(paths) == known


# Interruptions ----------------------------------------------------------------------------------------------------------


def test_an_interrupted_transfer_continues_where_it_ended(tmp_path: Path, hub: Hub) -> None:
    hub.cut["text/model.safetensors"] = [MIB, 600_000]
    _, downloads = make(tmp_path, hub)
    fetch(downloads)
    assert files(tmp_path / "chatty")["text/model.safetensors"] == WEIGHTS
    ranges = [
        headers.get("range") for headers in hub.requests_of("/content/somebody/chatty/text/model.safetensors")
    ]
    assert ranges == [None, f"bytes={MIB}-", f"bytes={MIB + 2 * 2**18}-"]
    assert hub.served["text/model.safetensors"] < len(WEIGHTS) + 2**18


def test_a_server_without_ranges_starts_again(tmp_path: Path, hub: Hub) -> None:
    hub.ranges = False
    hub.cut["text/model.safetensors"] = [MIB]
    _, downloads = make(tmp_path, hub)
    fetch(downloads)
    assert files(tmp_path / "chatty")["text/model.safetensors"] == WEIGHTS


def test_a_server_that_makes_no_progress_is_abandoned(tmp_path: Path, hub: Hub) -> None:
    """Even if it starts from the first byte each time. The partial files stay for the next attempt."""
    hub.ranges = False
    hub.cut["text/model.safetensors"] = [MIB] * 50
    _, downloads = make(tmp_path, hub)
    with pytest.raises(
        ModelUnavailable, match=r"text/model\.safetensors could not be fetched from 127\.0\.0\.1"
    ):
        fetch(downloads)
    assert len(hub.requests_of("/content/somebody/chatty/text/model.safetensors")) == 3
    assert not (tmp_path / "chatty").exists()
    hub.cut.clear()
    hub.ranges = True
    fetch(downloads)
    assert files(tmp_path / "chatty")["text/model.safetensors"] == WEIGHTS


def test_a_server_that_stops_responding_is_retried(tmp_path: Path, hub: Hub) -> None:
    hub.hold["text/model.safetensors"] = MIB
    _, downloads = make(tmp_path, hub, limits=DownloadLimits(stall_seconds=0.5))
    with pytest.raises(ModelUnavailable, match="ReadTimeout"):
        fetch(downloads)
    hub.go_on.set()
    fetch(downloads)
    assert files(tmp_path / "chatty")["text/model.safetensors"] == WEIGHTS


def test_busy_servers_are_retried(tmp_path: Path, hub: Hub) -> None:
    hub.answers = [503, 429]
    _, downloads = make(tmp_path, hub)
    fetch(downloads)
    assert (tmp_path / "chatty" / "config.json").read_bytes() == CONFIG


def test_a_cancelled_fetch_keeps_its_partial_files(tmp_path: Path, hub: Hub) -> None:
    hub.hold["text/model.safetensors"] = MIB
    _, downloads = make(tmp_path, hub)

    async def interrupted() -> None:
        task = asyncio.create_task(downloads.fetch("chatty", lambda _done, _total: None))
        await asyncio.to_thread(hub.wait_served, "text/model.safetensors", MIB)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    hub.go_on.set()
    assert not (tmp_path / "chatty").exists()
    fetch(downloads)
    assert hub.served["config.json"] == len(CONFIG)
    assert files(tmp_path / "chatty")["text/model.safetensors"] == WEIGHTS


def test_files_that_changed_meanwhile_are_fetched_again(tmp_path: Path, hub: Hub) -> None:
    hub.hold["unet/model.safetensors"] = 0
    _, downloads = make(tmp_path, hub, limits=DownloadLimits(stall_seconds=0.5))
    with pytest.raises(ModelUnavailable):
        fetch(downloads)
    hub.go_on.set()
    hub.put(REPOSITORY, config_json=b"{}", unet__model_safetensors=WEIGHTS)
    fetch(downloads)
    assert files(tmp_path / "chatty") == {
        "config.json": b"{}", "text/model.safetensors": WEIGHTS, "unet/model.safetensors": WEIGHTS, "tokenizer.json": b"{}",
    }  # fmt: skip
    assert hub.served["text/model.safetensors"] == len(WEIGHTS)


# Contents and permissions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "unet/model.safetensors"])
def test_content_that_does_not_match_its_digest_is_removed(tmp_path: Path, hub: Hub, name: str) -> None:
    """Small files are verified by Git's digest, large ones by their SHA-256."""
    hub.corrupt = {name}
    _, downloads = make(tmp_path, hub)
    with pytest.raises(ModelUnavailable, match=rf"{name} from .* does not match its digest") as caught:
        fetch(downloads)
    assert caught.value.code == "MODEL_UNAVAILABLE"
    assert not (tmp_path / "chatty").exists()
    assert name not in files(tmp_path / ".fetching-chatty")
    assert f"{name}.part" not in files(tmp_path / ".fetching-chatty")
    hub.corrupt = set()
    fetch(downloads)
    assert len(files(tmp_path / "chatty")) == 4


def test_a_file_longer_than_announced_is_refused_before_it_fills_the_disk(tmp_path: Path, hub: Hub) -> None:
    _, downloads = make(tmp_path, hub, plain(hub, "small", WEIGHTS, size=MIB))
    with pytest.raises(ModelUnavailable, match="does not match its digest"):
        fetch(downloads, "small")
    assert list((tmp_path / ".fetching-small").glob("*.part")) == []


def test_a_gated_repository_explains_tokens_and_opens_with_one(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated, hub.token = True, "hf_secret"
    _, downloads = make(tmp_path, hub)
    with pytest.raises(ModelUnavailable, match=r"https://huggingface\.co/somebody/chatty.*HF_TOKEN"):
        fetch(downloads)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(downloads)
    assert len(files(tmp_path / "chatty")) == 4
    elsewhere = hub.requests_of("/content/somebody/chatty/unet/model.safetensors")
    assert [headers.get("authorization") for headers in elsewhere] == [None]


def test_a_model_that_is_known_to_be_gated_asks_for_a_token_before_anything_else(
    tmp_path: Path, hub: Hub
) -> None:
    _, downloads = make(tmp_path, hub, {"name": "closed", "repository": REPOSITORY, "gated": True})
    with pytest.raises(ModelUnavailable, match=r"accept its terms.*HF_TOKEN"):
        fetch(downloads, "closed")
    assert hub.requests == []


def test_a_model_can_have_files_of_several_repositories(tmp_path: Path, hub: Hub) -> None:
    hub.put("somebody/smaller", weights_gguf=OTHER, README_md=b"x", other_gguf=b"y")
    small = {"repository": "somebody/smaller", "patterns": ["weights.gguf"]}
    own = {"repository": REPOSITORY, "patterns": ["*.json", "text/*"]}
    none = {**small, "patterns": ["*.onnx"]}
    more = [{"name": "both", **own, "additions": [small]}, {"name": "lacking", **own, "additions": [none]}]
    _, downloads = make(tmp_path, hub, *more)
    progress = fetch(downloads, "both")
    assert files(tmp_path / "both") == {
        "config.json": CONFIG, "text/model.safetensors": WEIGHTS, "tokenizer.json": b"{}", "weights.gguf": OTHER,
    }  # fmt: skip
    assert progress[-1][0] == progress[-1][1]
    with pytest.raises(ModelUnavailable, match=r"somebody/smaller has no usable file for 'lacking'"):
        fetch(downloads, "lacking")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"repository": "somebody/nothing"}, "does not exist, or is private"),
        ({"repository": REPOSITORY, "revision": "v2"}, "has no revision 'v2'"),
        ({"repository": REPOSITORY, "patterns": ["*.onnx"]}, r"has no usable file .* \(\*\.onnx\)"),
        (
            {"files": [{"name": "a", "url": "URL/plain/none", "sha256": "0" * 64}]},
            "answers 404 for a. Correct",
        ),
        ({}, "cannot be downloaded: .* names neither a repository"),
    ],
)
def test_a_failed_fetch_states_the_reason(
    tmp_path: Path, hub: Hub, entry: dict[str, Any], words: str
) -> None:
    requested = json.loads(json.dumps({"name": "odd", **entry}).replace("URL", hub.url))
    _, downloads = make(tmp_path, hub, requested)
    with pytest.raises(ModelUnavailable, match=words):
        fetch(downloads, "odd")
    assert list(tmp_path.glob("*odd")) == []


def test_an_unreachable_hub_is_reported(tmp_path: Path) -> None:
    hub = Hub()
    hub.port = 9
    _, downloads = make(tmp_path, hub)
    with pytest.raises(ModelUnavailable, match=r"somebody/chatty .* the Hub cannot be reached"):
        fetch(downloads)


# Space ------------------------------------------------------------------------------------------------------------------


def test_least_recently_used_models_are_removed_to_meet_the_quota(tmp_path: Path, hub: Hub) -> None:
    """Models that are pinned, in use, or not fetched by this program stay, however old."""
    names = ("pinned", "old", "older", "used")
    limits = DownloadLimits(quota=int(7.5 * MIB), pinned=frozenset({"pinned"}))
    store, downloads = make(tmp_path, hub, *(plain(hub, name, OTHER) for name in names), limits=limits)
    for name in names:
        fetch(downloads, name)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.bin").write_bytes(OTHER)
    os.utime(tmp_path / "own", (0, 0))

    async def fetch_while_one_is_used() -> None:
        with await downloads.hold("used", lambda _done, _total: None):
            age(tmp_path, pinned=1, used=2, older=3, old=4)
            await downloads.fetch("chatty", lambda _done, _total: None)

    asyncio.run(fetch_while_one_is_used())
    assert store.on_disk("llm_inference") == ["chatty", "pinned", "old", "used"]
    assert (tmp_path / "own").exists()
    assert list(tmp_path.glob(".removing-*")) == []


def age(models_dir: Path, **times: float) -> None:
    for name, used in times.items():
        os.utime(models_dir / ".use" / name, (used, used))


def test_a_model_that_cannot_fit_removes_nothing(tmp_path: Path, hub: Hub) -> None:
    store, downloads = make(tmp_path, hub, plain(hub, "small", OTHER), limits=DownloadLimits(quota=2 * MIB))
    fetch(downloads, "small")
    with pytest.raises(
        ModelUnavailable, match=r"not enough space for the model 'chatty'.*miner\.models_quota"
    ):
        fetch(downloads)
    assert store.on_disk("llm_inference") == ["small"]
    assert hub.served["text/model.safetensors"] == 0


def test_a_lack_of_space_keeps_the_partial_files(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.hold["unet/model.safetensors"] = 0
    _, downloads = make(tmp_path, hub, limits=DownloadLimits(stall_seconds=0.5))
    with pytest.raises(ModelUnavailable):
        fetch(downloads)
    hub.go_on.set()
    with monkeypatch.context() as full:
        usage = shutil.disk_usage(tmp_path)._replace(free=2**30)
        full.setattr(shutil, "disk_usage", lambda _path: usage)
        with pytest.raises(ModelUnavailable, match="not enough space"):
            fetch(downloads)
    fetch(downloads)
    assert hub.served["text/model.safetensors"] == len(WEIGHTS)


def test_fetching_in_advance_never_removes_a_model(tmp_path: Path, hub: Hub) -> None:
    store, downloads = make(
        tmp_path, hub, plain(hub, "small", OTHER), limits=DownloadLimits(quota=int(3.5 * MIB))
    )
    fetch(downloads, "small")
    with pytest.raises(ModelUnavailable, match="not enough space"):
        fetch(downloads, may_remove=False)
    assert store.on_disk("llm_inference") == ["small"]
    fetch(downloads)
    assert store.on_disk("llm_inference") == ["chatty"]


def test_a_full_disk_is_detected_before_anything_is_fetched(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, downloads = make(tmp_path, hub)
    usage = shutil.disk_usage(tmp_path)._replace(free=2**30 + MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(ModelUnavailable, match=r"0\.00 GiB are missing"):
        fetch(downloads)
    assert hub.served == {}


# Concurrent fetches ----------------------------------------------------------------------------------------------------


def test_two_concurrent_fetches_of_a_model_transfer_it_once_and_both_report_progress(
    tmp_path: Path, hub: Hub
) -> None:
    hub.hold["text/model.safetensors"] = MIB
    _, first = make(tmp_path, hub)
    _, second = make(tmp_path, hub)
    progress: list[tuple[int, int | None]] = []
    seen = asyncio.Event()

    def report(done: int, total: int | None) -> None:
        progress.append((done, total))
        if done >= MIB // 2:
            seen.set()

    async def both() -> None:
        one = asyncio.create_task(first.fetch("chatty", lambda _done, _total: None))
        await asyncio.to_thread(hub.wait_served, "text/model.safetensors", MIB)
        two = asyncio.create_task(second.fetch("chatty", report))
        await asyncio.wait_for(seen.wait(), 60)
        hub.go_on.set()
        await asyncio.wait_for(asyncio.gather(one, two), 60)

    asyncio.run(both())
    assert hub.served["text/model.safetensors"] == len(WEIGHTS)
    assert progress[0][1] == len(CONFIG) + len(WEIGHTS) + len(OTHER) + 2


def test_fetched_files_leave_those_of_another_engine_in_place(tmp_path: Path, hub: Hub) -> None:
    """The model remains the owner's, and is never removed to free space."""
    store, downloads = make(tmp_path, hub, plain(hub, "small", WEIGHTS))
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "model.bin").write_bytes(b"other")
    assert store.has("small")
    fetch(downloads, "small")
    assert files(tmp_path / "small") == {"model.bin": b"other", "model.pt": WEIGHTS}
    assert not ModelDirectory(tmp_path).stored()[0].fetched
    assert not (tmp_path / ".fetching-small").exists()


def test_a_download_stops_when_the_connection_is_metered_and_goes_on_afterwards(
    tmp_path: Path, hub: Hub
) -> None:
    """What has arrived is not fetched again."""
    metered = [False]
    traffic = Traffic(NetworkSettings(download_rate=Bytes("1Mi")), is_metered=lambda: metered[0])
    store, downloads = make(tmp_path / "models", hub, traffic=traffic)

    async def interrupted() -> None:
        def on_progress(done: int, _: int | None) -> None:
            # As soon as something has arrived, somebody shares the connection of a telephone.
            metered[0] = metered[0] or done > 0

        polling = asyncio.create_task(_poll(traffic))
        try:
            await downloads.fetch("chatty", on_progress)
        finally:
            polling.cancel()

    with pytest.raises(SourceUnreachable, match=r"connection is metered.*metered_downloads"):
        asyncio.run(interrupted())
    assert not store.is_complete("chatty")
    arrived = size_of(tmp_path / "models")
    assert arrived > 0
    with pytest.raises(SourceUnreachable, match="metered"):
        fetch(downloads)
    metered[0] = False
    served = sum(hub.served.values())
    fetch(downloads)
    assert store.is_complete("chatty")
    assert sum(hub.served.values()) - served < len(CONFIG) + len(WEIGHTS) + len(OTHER) + 2


async def _poll(traffic: Traffic) -> None:
    while True:
        await traffic.poll()
        await asyncio.sleep(0.01)
