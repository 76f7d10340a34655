"""What a daemon does about models: those of jobs come first, commands of the coordinator in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.core.machine.catalogue import parse_catalogue
from agent.miner.models.downloads import Downloads, Limits
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.provider import ModelProvider
from agent.miner.models.store import ModelStore, ModelUnavailable, ModelUnknown
from miner_support.hub import Hub, running_hub

WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
SERVICE = "llm_inference"


def ignore(*_: Any) -> None:
    pass


class Place:
    """A hub, a directory and a model provider that fetches from one into the other."""

    def __init__(self, directory: Path, hub: Hub, *, download: bool = True, quota: int | None = None) -> None:
        self.hub = hub
        entries = []
        for name, kind in (("first", "model"), ("second", "model"), ("touch", "adapter")):
            hub.put(f"somebody/{name}", **{f"{name}_safetensors": WEIGHTS})
            entries.append(
                {
                    "name": name, "service": SERVICE, "engines": ["e"], "licence": "MIT", "kind": kind,
                    "repository": f"somebody/{name}",
                }
            )  # fmt: skip
        entries.append({"name": "local", "service": SERVICE, "engines": ["e"], "licence": "MIT"})
        self.store = ModelStore(directory, parse_catalogue({"models": entries}))
        self.model_directory = ModelDirectory(directory)
        downloads = Downloads(self.store, self.model_directory, Limits(quota), endpoint=hub.url, pauses=())
        self.changes: asyncio.Queue[list[str]] = asyncio.Queue()
        self.released: asyncio.Queue[str] = asyncio.Queue()
        self.provider = ModelProvider(
            self.store,
            downloads,
            download=download,
            on_change=lambda: self.changes.put_nowait(list(self.provider.present[SERVICE])),
            release=self.released.put,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.provider.run())
        try:
            await self.changed()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def changed(self) -> list[str]:
        return await asyncio.wait_for(self.changes.get(), 20)

    async def served(self, name: str, size: int) -> None:
        await asyncio.to_thread(self.hub.wait_served, f"{name}.safetensors", size)

    def command(self, name: Any) -> None:
        self.provider.command_fetch(name)


def run(directory: Path, test: Callable[[Place], Any], **options: Any) -> None:
    async def main() -> None:
        with running_hub() as hub:
            await asyncio.wait_for(test(Place(directory, hub, **options)), 60)

    asyncio.run(main())


def test_a_job_gets_its_model_and_adapters_and_keeps_them_from_being_removed(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        told: list[str] = []
        async with place.provider.lend(
            "first", ["touch"], lambda name, _done, _total: told.append(name)
        ) as lent:
            assert lent.model is not None
            assert (lent.model.path / "first.safetensors").read_bytes() == WEIGHTS
            assert lent.adapters["touch"].path == tmp_path / "touch"
            assert set(told) == {"first", "touch"}
            assert not place.model_directory.remove("first")
            assert not place.model_directory.remove("touch")
        assert place.model_directory.remove("first")
        async with place.provider.lend(None, [], ignore) as lent:
            assert (lent.model, lent.adapters) == (None, {})

    run(tmp_path, test)


def test_what_a_job_must_not_have_is_refused(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        for model, adapters in (("unknown", []), ("touch", []), ("first", ["second"])):
            with pytest.raises(ModelUnknown):
                async with place.provider.lend(model, adapters, ignore):
                    pass
        with pytest.raises(ModelUnavailable, match=r"runners\.model_download is off.*models pull first"):
            async with place.provider.lend("first", [], ignore):
                pass
        assert place.hub.requests == []

    run(tmp_path, test, download=False)


def test_two_jobs_that_need_one_model_fetch_it_once(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        async def job() -> None:
            async with place.provider.lend("first", [], ignore):
                pass

        await asyncio.gather(job(), job(), job())
        assert place.hub.served["first.safetensors"] == len(WEIGHTS)

    run(tmp_path, test)


def test_an_ordered_model_is_fetched_and_then_offered(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        async with place.running():
            place.command("first")
            place.command("first")
            assert await place.changed() == ["first"]
            place.command("first")  # the coordinator has not heard of it yet
            place.command("second")
            assert await place.changed() == ["first", "second"]
        assert place.hub.served["first.safetensors"] == len(WEIGHTS)

    run(tmp_path, test)


def test_orders_that_make_no_sense_are_left(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        async with place.running():
            for name in ("unknown", "../first", "local"):
                place.command(name)
            place.command("second")
            assert await place.changed() == ["second"]
        assert {path.split("/")[-1] for _, path, _ in place.hub.requests} == {"second", "second.safetensors"}

    run(tmp_path, test)


@pytest.mark.parametrize("options", [{"download": False}, {"quota": 1000}])
def test_an_order_beyond_what_the_owner_allows_is_left(tmp_path: Path, options: dict[str, Any]) -> None:
    async def test(place: Place) -> None:
        (tmp_path / "local").mkdir()
        (tmp_path / "local" / "model").touch()
        async with place.running():
            place.command("first")
            while place.provider.waiting:  # noqa: ASYNC110 - nothing tells of commands that are given up
                await asyncio.sleep(0.01)
            place.command("first")  # repeated with every heartbeat: it is not tried again at once
            assert place.provider.waiting == ()
        assert place.hub.served == {}
        assert sum("/api/models/" in path for _, path, _ in place.hub.requests) == int("quota" in options)

    run(tmp_path, test, **options)


def test_a_job_s_download_goes_before_an_ordered_one_which_then_goes_on(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.hub.hold["first.safetensors"] = 2**19
        async with place.running():
            place.command("first")
            await place.served("first", 2**19)
            async with place.provider.lend("second", [], ignore):
                assert not place.store.has("first")
            place.hub.go_on.set()
            assert await place.changed() == ["second"]
            assert await place.changed() == ["first", "second"]
        assert place.hub.served["first.safetensors"] <= len(WEIGHTS) + 2 * 2**18

    run(tmp_path, test)


def test_a_job_that_needs_what_is_being_fetched_ahead_waits_for_it(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.hub.hold["first.safetensors"] = 2**19
        told = asyncio.Event()
        async with place.running():
            place.command("first")
            await place.served("first", 2**19)

            async def job() -> None:
                async with place.provider.lend("first", [], lambda *_: told.set()):
                    pass

            waiting = asyncio.create_task(job())
            await asyncio.wait_for(told.wait(), 10)
            place.hub.go_on.set()
            await waiting
        assert place.hub.served["first.safetensors"] == len(WEIGHTS)

    run(tmp_path, test)


def test_models_that_others_bring_or_remove_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.miner.models.provider.LOOK_SECONDS", 0.05)

    async def test(place: Place) -> None:
        async with place.running():
            (tmp_path / "local").mkdir()
            (tmp_path / "local" / "model").touch()
            assert await place.changed() == ["local"]
            place.model_directory.remove("local")
            assert await place.changed() == []

    run(tmp_path, test)


def test_a_model_is_removed_by_order_when_no_job_uses_it_and_leaves_the_memory_first(tmp_path: Path) -> None:
    """The command is settled when it is gone. What lies elsewhere, or is unknown, is not ours to remove."""

    async def test(place: Place) -> None:
        provider = place.provider
        async with place.running():
            async with provider.lend("first", [], ignore):
                assert await place.changed() == ["first"]
                assert not provider.command_removal("first")
                await asyncio.wait_for(place.released.get(), 20)
                assert place.store.has("first")
            assert not provider.command_removal("first")
            assert await place.changed() == []
        assert provider.command_removal("first")
        assert provider.command_removal("unknown")
        assert not (tmp_path / "first").exists()

    run(tmp_path, test)


def test_an_order_to_remove_what_is_being_fetched_ends_that(tmp_path: Path) -> None:
    """What was on its way is told of meanwhile."""

    async def test(place: Place) -> None:
        place.hub.hold["first.safetensors"] = 2**19
        async with place.running():
            assert not place.provider.command_fetch("first")
            await place.served("first", 2**19)
            while not place.provider.arriving:  # noqa: ASYNC110 - nothing tells of progress
                await asyncio.sleep(0.01)
            assert place.provider.arriving[0]["model"] == "first"
            assert not place.provider.command_removal("first")
            while not place.provider.command_removal("first"):  # noqa: ASYNC110 - it comes with each heartbeat
                await asyncio.sleep(0.01)
            place.hub.go_on.set()
        assert place.provider.waiting == ()
        assert place.provider.arriving == []
        assert not place.store.has("first")

    run(tmp_path, test)
