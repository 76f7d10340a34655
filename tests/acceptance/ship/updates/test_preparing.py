"""What an update installs and what it refuses, with uv and a real index; a bad release changes nothing but the note about it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from agent import __version__
from agent.cli.options import settings_from
from agent.settings import Settings
from agent.updates import directory, installing
from agent.updates.directory import VersionsDirectory
from agent.updates.manifest import sign_manifest
from agent.updates.preparing import Preparation, roll_back
from agent.updates.refusals import Refused, UpdateDelayed
from agent.updates.starting import versions_of
from agent.updates.states import Phase, UpdateEnding
from support.updates.releases import KEY, PUBLIC_KEY, Mirror, small_agent, write_wheel

pytestmark = pytest.mark.acceptance

NEXT = "9.0.0"


@dataclass(frozen=True)
class Stage:
    """An agent's data directory, and the mirror that its settings name."""

    mirror: Mirror
    settings: Settings
    config: Path

    @property
    def versions(self) -> VersionsDirectory:
        return versions_of(self.settings)

    def prepare(self, wanted: str | None = None, *, by_itself: bool = False) -> str | None:
        return Preparation(self.settings, self.config).prepare(wanted, by_itself=by_itself)

    def refused(self, words: str, error: type[Exception] = Refused, wanted: str | None = None) -> None:
        """Prepare, and see that it is refused with these words, and that nothing is left of it."""
        with pytest.raises(error, match=words):
            self.prepare(wanted)
        assert self.versions.current == __version__
        assert not self.versions.is_complete(NEXT)
        assert self.versions.read().phase is Phase.IDLE

    def with_settings(self, lines: str) -> Stage:
        self.config.write_text(f"{self.config.read_text()}{lines}\n")
        return Stage(self.mirror, settings_from(self.settings.data_dir), self.config)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A mirror without releases. The packages of this environment, which has extensions and extras, are no part of these tests."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    monkeypatch.setattr(sys, "argv", ["aitbc-agent", "update", "--data-dir", str(data_dir)])
    mirror = Mirror(tmp_path / "mirror")
    core = [f"{name}=={{}}" for name in ("aitbc-agent", "aitbc")]
    monkeypatch.setattr(
        installing,
        "_packages",
        lambda release: installing._Packages([line.format(release.version) for line in core], [], []),
    )
    current = tmp_path / "current"
    current.write_text(
        f"#!{sys.executable}\nprint('{json.dumps({'problems': {'old': 'Blender is broken.'}})}')\n"
    )
    current.chmod(0o755)
    monkeypatch.setattr(directory, "base_program", lambda: current)
    with mirror.served() as index:
        config = data_dir / "agent.toml"
        config.write_text(f'[updates]\nindex = "{index}"\npublic_keys = ["{PUBLIC_KEY}"]\ntry_seconds = 60\n')
        yield Stage(mirror, settings_from(data_dir), config)


def test_a_release_is_installed_beside_this_version(stage: Stage) -> None:
    """It waits there; a second time there is nothing to do."""
    stage.mirror.add(NEXT, small_agent(NEXT))
    assert Preparation(stage.settings, stage.config).check() == (__version__, NEXT)
    assert stage.prepare() == NEXT
    assert stage.versions.read().phase is Phase.PREPARED
    assert stage.versions.is_complete(NEXT)
    assert stage.versions.current == __version__
    printed = subprocess.run(
        [stage.versions.program(NEXT), "--version"], capture_output=True, text=True, check=True, timeout=300
    )
    assert printed.stdout == f"aitbc-agent {NEXT}\n"
    stage.mirror.folder.joinpath(f"aitbc_agent-{NEXT}-py3-none-any.whl").unlink()
    assert stage.prepare() == NEXT


def test_no_release(stage: Stage) -> None:
    stage.refused("has no release of the agent. Check updates.index", UpdateDelayed)
    stage.refused("has no release 9.0.0", UpdateDelayed, NEXT)


def test_an_index_that_does_not_answer(stage: Stage) -> None:
    without = stage.with_settings("")
    without.config.write_text('[updates]\nindex = "http://127.0.0.1:9/simple/"\n')
    Stage(stage.mirror, settings_from(stage.settings.data_dir), stage.config).refused(
        "could not be", UpdateDelayed
    )


def test_an_unknown_key(stage: Stage) -> None:
    stage.mirror.add(NEXT, small_agent(NEXT), keys=(SigningKey(b"x" * 32),))
    stage.refused("which this agent does not trust")
    assert stage.versions.read().last is not None


def test_a_wrong_signature(stage: Stage) -> None:
    """The manifest was changed after it had been signed."""
    stage.mirror.add(NEXT, small_agent(NEXT))
    other = stage.mirror.add("9.0.1", small_agent("9.0.1"))
    envelope = json.loads(sign_manifest(other, KEY))
    first = json.loads(sign_manifest(other.model_copy(update={"version": NEXT}), KEY))
    stage.mirror.publish("9.0.2", json.dumps({**envelope, "payload": first["payload"]}).encode())
    stage.refused("signature is wrong")


def test_a_wheel_that_is_not_the_signed_one(stage: Stage) -> None:
    """The mirror serves another file under the name of the release's."""
    stage.mirror.add(NEXT, small_agent(NEXT))
    write_wheel(stage.mirror.folder, "aitbc-agent", NEXT, small_agent(NEXT, "import os")["aitbc-agent"])
    stage.refused("SHA-256 digest", UpdateDelayed)
    # The mirror may be repaired, so that this version is tried again.
    assert NEXT not in stage.versions.read().failed


def test_a_package_that_is_not_in_the_manifest(stage: Stage) -> None:
    """The index has it, but nobody has signed which file it is."""
    write_wheel(stage.mirror.folder, "unsigned", "1.0", {"unsigned.py": b""})
    metadata = f"Metadata-Version: 2.1\nName: aitbc-agent\nVersion: {NEXT}\nRequires-Dist: unsigned\n"
    wheels = small_agent(NEXT)
    wheels["aitbc-agent"][f"aitbc_agent-{NEXT}.dist-info/METADATA"] = metadata.encode()
    stage.mirror.add(NEXT, wheels)
    stage.refused(f"Version {NEXT} was not installed", UpdateDelayed)


def test_half_a_download(stage: Stage) -> None:
    stage.mirror.add(NEXT, small_agent(NEXT))
    wheel = stage.mirror.folder / f"aitbc_agent-{NEXT}-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[: wheel.stat().st_size // 2])
    stage.refused(f"Version {NEXT} was not installed", UpdateDelayed)


def test_a_full_disk(stage: Stage) -> None:
    """The files of the version cannot be written, and what had arrived is deleted."""
    large = {**small_agent(NEXT)["aitbc-agent"], "large.bin": os.urandom(20_000_000)}
    stage.mirror.add(NEXT, {"aitbc-agent": large, "aitbc": {}})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, limits[1]))
    try:
        stage.refused(f"Version {NEXT} was not installed", UpdateDelayed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (stage.versions.path / NEXT).exists()
    assert stage.prepare() == NEXT


def test_a_newer_python(stage: Stage) -> None:
    stage.mirror.add(NEXT, small_agent(NEXT), python=">=3.99")
    stage.refused("needs Python >=3.99")


def test_a_downgrade_by_the_index(stage: Stage) -> None:
    """Neither as it is, nor under a higher number; the owner may want it."""
    stage.mirror.add("0.1.0", small_agent("0.1.0"), as_version="99.0.0")
    stage.refused("older than")
    stage.mirror.add("0.1.0", small_agent("0.1.0"))
    assert stage.prepare("0.1.0") == "0.1.0"


def test_pre_releases_are_for_the_beta_channel(stage: Stage) -> None:
    stage.mirror.add("9.0.0rc1", small_agent("9.0.0rc1"), channel="beta")
    stage.mirror.add(__version__, small_agent(__version__))
    assert stage.prepare() is None
    assert stage.with_settings('channel = "beta"').prepare() == "9.0.0rc1"


@pytest.mark.parametrize(
    ("program", "problems", "words"),
    [
        ("sys.exit('broken')", "{}", "fails with exit status 1: broken"),
        ("import missing_module", "{}", "No module named 'missing_module'"),
        ("import time; time.sleep(1000)", "{}", "did not end within"),
        ("", '{"video_transcoding": "A job failed."}', "its doctor finds: A job failed."),
        ("import os; os.kill(os.getpid(), 9)", "{}", "exit status -9"),
    ],
)
def test_a_version_that_does_not_work_here(stage: Stage, program: str, problems: str, words: str) -> None:
    """It is refused before it takes over, not tried again by itself, and again if the owner says so."""
    if "sleep" in program:
        stage = stage.with_settings("")
        stage.config.write_text(stage.config.read_text().replace("try_seconds = 60", "try_seconds = 2"))
        stage = Stage(stage.mirror, settings_from(stage.settings.data_dir), stage.config)
    stage.mirror.add(NEXT, small_agent(NEXT, program, problems))
    with pytest.raises(Refused, match=words):
        stage.prepare()
    state = stage.versions.read()
    assert (state.phase, list(state.failed)) == (Phase.IDLE, [NEXT])
    assert state.last is not None
    assert state.last.ending is UpdateEnding.FAILED
    assert stage.prepare(by_itself=True) is None
    with pytest.raises(Refused, match=words):
        stage.prepare(NEXT)


def test_a_version_with_another_number(stage: Stage) -> None:
    """What is installed is not what the manifest says."""
    stage.mirror.add(NEXT, small_agent(NEXT, prints="8.8.8"))
    with pytest.raises(Refused, match=r"says that it is aitbc-agent 8\.8\.8"):
        stage.prepare()


def test_what_the_current_version_finds_too(stage: Stage) -> None:
    """A fault of the machine is not held against the new version, which may be what mends it."""
    stage.mirror.add(NEXT, small_agent(NEXT, problems='{"old": "Blender is broken."}'))
    assert stage.prepare() == NEXT


def test_nothing_is_prepared_during_a_trial(stage: Stage) -> None:
    stage.mirror.add(NEXT, small_agent(NEXT))
    stage.versions.path.mkdir()
    stage.versions.write(stage.versions.read().prepare("2", "1").prepared().make_due().begin(None))
    with pytest.raises(UpdateDelayed, match="in progress"):
        stage.prepare()
    assert roll_back(stage.settings).phase is Phase.RETURNING


def test_settings_that_commands_would_not_find(stage: Stage) -> None:
    """The launcher does not read the file of settings, so the update says where to name the directory."""
    with pytest.raises(Exception, match="set AITBC_UPDATES__DIRECTORY"):
        stage.with_settings('directory = "/elsewhere"').prepare()
