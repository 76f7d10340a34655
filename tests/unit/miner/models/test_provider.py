"""Models of jobs are fetched first, those of the coordinator's commands in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.catalogue import CatalogueEntry, parse_catalogue
from agent.miner.models.downloads import DownloadLimits, Downloads
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.provider import ModelProvider
from agent.miner.models.store import ModelStore, ModelUnavailable, ModelUnknown
from miner_support.hub import Hub, running_hub

WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
SERVICE = "llm_inference"


def ignore(*_: Any) -> None:
    pass


class Setup:
    """A hub, a directory, and a model provider that fetches from the hub."""

    def __init__(self, directory: Path, hub: Hub, *, download: bool = True, quota: int | None = None) -> None:
        self.hub = hub
        entries = self.entries = list[dict[str, Any]]()
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
        downloads = Downloads(
            self.store, self.model_directory, DownloadLimits(quota), endpoint=hub.url, retries=0
        )
        self.present: list[str] | None = None
        self.changes: asyncio.Queue[list[str]] = asyncio.Queue()
        self.released: asyncio.Queue[str] = asyncio.Queue()
        self.provider = ModelProvider(
            self.store,
            downloads,
            download=download,
            on_change=self._note,
            release=self.released.put,
            read_catalogue=self._read_catalogue,
        )

    def _read_catalogue(self) -> dict[str, CatalogueEntry]:
        """Read what the owner has written meanwhile."""
        return parse_catalogue({"models": self.entries})

    def _note(self) -> None:
        """Queue the models on disk if they have changed. The provider also reports the downloads of jobs."""
        if self.provider.present and self.present != (now := list(self.provider.present[SERVICE])):
            self.present = now
            self.changes.put_nowait(now)

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
        return await asyncio.wait_for(self.changes.get(), 60)

    async def served(self, name: str, size: int) -> None:
        await asyncio.to_thread(self.hub.wait_served, f"{name}.safetensors", size)

    def command(self, name: Any) -> None:
        self.provider.command_fetch(name)


def run(directory: Path, test: Callable[[Setup], Any], **options: Any) -> None:
    async def main() -> None:
        with running_hub() as hub:
            await asyncio.wait_for(test(Setup(directory, hub, **options)), 60)

    asyncio.run(main())


def test_a_job_gets_its_model_and_adapters_and_protects_them_from_removal(tmp_path: Path) -> None:
    async def test(setup: Setup) -> None:
        reported: list[str] = []
        async with setup.provider.lend(
            "first", ["touch"], lambda name, _done, _total: reported.append(name)
        ) as lent:
            assert lent.model is not None
            assert (lent.model.path / "first.safetensors").read_bytes() == WEIGHTS
            assert lent.adapters["touch"].path == tmp_path / "touch"
            assert set(reported) == {"first", "touch"}
            assert not setup.model_directory.remove("first")
            assert not setup.model_directory.remove("touch")
        assert setup.model_directory.remove("first")
        async with setup.provider.lend(None, [], ignore) as lent:
            assert (lent.model, lent.adapters) == (None, {})

    run(tmp_path, test)


def test_a_model_that_a_job_must_not_use_is_refused(tmp_path: Path) -> None:
    async def test(setup: Setup) -> None:
        for model, adapters in (("unknown", []), ("touch", []), ("first", ["second"])):
            with pytest.raises(ModelUnknown):
                async with setup.provider.lend(model, adapters, ignore):
                    pass
        with pytest.raises(ModelUnavailable, match=r"runners\.model_download is off.*models pull first"):
            async with setup.provider.lend("first", [], ignore):
                pass
        assert setup.hub.requests == []

    run(tmp_path, test, download=False)


def test_two_jobs_that_need_one_model_fetch_it_once(tmp_path: Path) -> None:
    async def test(setup: Setup) -> None:
        async def job() -> None:
            async with setup.provider.lend("first", [], ignore):
                pass

        await asyncio.gather(job(), job(), job())
        assert setup.hub.served["first.safetensors"] == len(WEIGHTS)

    run(tmp_path, test)


def test_a_commanded_model_is_fetched_and_then_offered(tmp_path: Path) -> None:
    async def test(setup: Setup) -> None:
        async with setup.running():
            setup.command("first")
            setup.command("first")
            assert await setup.changed() == ["first"]
            setup.command("first")  # the coordinator has not received the report yet
            setup.command("second")
            assert await setup.changed() == ["first", "second"]
        assert setup.hub.served["first.safetensors"] == len(WEIGHTS)

    run(tmp_path, test)


def test_commands_that_make_no_sense_are_ignored(tmp_path: Path) -> None:
    async def test(setup: Setup) -> None:
        async with setup.running():
            for name in ("unknown", "../first", "local"):
                setup.command(name)
            setup.command("second")
            assert await setup.changed() == ["second"]
        assert {path.split("/")[-1] for _, path, _ in setup.hub.requests} == {"second", "second.safetensors"}

    run(tmp_path, test)


@pytest.mark.parametrize("options", [{"download": False}, {"quota": 1000}])
def test_a_command_beyond_the_owners_limits_is_ignored(tmp_path: Path, options: dict[str, Any]) -> None:
    async def test(setup: Setup) -> None:
        (tmp_path / "local").mkdir()
        (tmp_path / "local" / "model").touch()
        async with setup.running():
            setup.command("first")
            while setup.provider._commanded:  # noqa: ASYNC110 - no event reports abandoned commands
                await asyncio.sleep(0.01)
            setup.command("first")  # repeated with every heartbeat, but not retried at once
            assert not setup.provider._commanded
        assert setup.hub.served == {}
        assert sum("/api/models/" in path for _, path, _ in setup.hub.requests) == int("quota" in options)

    run(tmp_path, test, **options)


def test_a_jobs_download_interrupts_a_commanded_one_which_then_continues(tmp_path: Path) -> None:
    async def test(setup: Setup) -> None:
        setup.hub.hold["first.safetensors"] = 2**19
        async with setup.running():
            setup.command("first")
            await setup.served("first", 2**19)
            async with setup.provider.lend("second", [], ignore):
                assert not setup.store.has("first")
            setup.hub.go_on.set()
            assert await setup.changed() == ["second"]
            assert await setup.changed() == ["first", "second"]
        assert setup.hub.served["first.safetensors"] <= len(WEIGHTS) + 2 * 2**18

    run(tmp_path, test)


def test_a_job_waits_for_its_model_that_is_being_fetched_in_advance(tmp_path: Path) -> None:
    async def test(setup: Setup) -> None:
        setup.hub.hold["first.safetensors"] = 2**19
        reported = asyncio.Event()
        async with setup.running():
            setup.command("first")
            await setup.served("first", 2**19)

            async def job() -> None:
                async with setup.provider.lend("first", [], lambda *_: reported.set()):
                    pass

            waiting = asyncio.create_task(job())
            await asyncio.wait_for(reported.wait(), 60)
            setup.hub.go_on.set()
            await waiting
        assert setup.hub.served["first.safetensors"] == len(WEIGHTS)

    run(tmp_path, test)


def test_models_that_other_programs_add_or_remove_are_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.miner.models.provider.POLL_SECONDS", 0.05)

    async def test(setup: Setup) -> None:
        async with setup.running():
            (tmp_path / "local").mkdir()
            (tmp_path / "local" / "model").touch()
            assert await setup.changed() == ["local"]
            setup.model_directory.remove("local")
            assert await setup.changed() == []

    run(tmp_path, test)


def test_a_command_unloads_and_removes_a_model_once_no_job_uses_it(tmp_path: Path) -> None:
    """The command is settled once the model is removed. Models outside the directory, and unknown ones, are not removed."""

    async def test(setup: Setup) -> None:
        provider = setup.provider
        async with setup.running():
            async with provider.lend("first", [], ignore):
                assert await setup.changed() == ["first"]
                assert not provider.command_removal("first")
                await asyncio.wait_for(setup.released.get(), 60)
                assert setup.store.has("first")
            assert not provider.command_removal("first")
            assert await setup.changed() == []
        assert provider.command_removal("first")
        assert provider.command_removal("unknown")
        assert not (tmp_path / "first").exists()

    run(tmp_path, test)


def test_a_removal_command_ends_the_fetch_of_the_model(tmp_path: Path) -> None:
    """The fetch is reported until then."""

    async def test(setup: Setup) -> None:
        setup.hub.hold["first.safetensors"] = 2**19
        async with setup.running():
            assert not setup.provider.command_fetch("first")
            await setup.served("first", 2**19)
            while not setup.provider.arriving:  # noqa: ASYNC110 - no event reports progress
                await asyncio.sleep(0.01)
            assert setup.provider.arriving[0]["model"] == "first"
            assert not setup.provider.command_removal("first")
            while not setup.provider.command_removal("first"):  # noqa: ASYNC110 - it comes with each heartbeat
                await asyncio.sleep(0.01)
            setup.hub.go_on.set()
        assert not setup.provider._commanded
        assert setup.provider.arriving == []
        assert not setup.store.has("first")

    run(tmp_path, test)


def test_the_owners_changes_apply_to_the_next_job_without_a_restart(tmp_path: Path) -> None:
    """A model that is added is offered, one with another entry is loaded again, and an invalid file changes nothing."""

    async def test(setup: Setup) -> None:
        for name in ("first", "new"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "model").touch()
        async with setup.running():
            assert setup.present == ["first"]
            setup.entries.append(setup.entries[0] | {"name": "new"})
            setup.entries[0]["options"] = {"context": 512}
            setup.provider.refresh()
            assert await setup.changed() == ["first", "new"]
            assert await asyncio.wait_for(setup.released.get(), 60) == "first"
            async with setup.provider.lend("first", [], ignore) as lent:
                assert lent.model is not None
                assert lent.model.options == {"context": 512}
            valid = setup.entries.pop()
            setup.entries.append({"name": "invalid"})
            setup.provider.refresh()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(setup.changes.get(), 1)
            assert setup.store.has("new")
            setup.entries[-1] = valid | {"name": "other"}
            setup.provider.refresh()
            assert await setup.changed() == ["first"]

    run(tmp_path, test)


def test_a_link_to_a_file_that_was_moved_is_no_model(tmp_path: Path) -> None:
    async def test(setup: Setup) -> None:
        (tmp_path / "first").mkdir()
        (tmp_path / "weights").touch()
        (tmp_path / "first" / "model").symlink_to(tmp_path / "weights")
        assert setup.store.has("first")
        (tmp_path / "weights").unlink()
        assert not setup.store.has("first")

    run(tmp_path, test)
