"""The files of a service, written to a temporary directory. In tests/acceptance/ship/test_systemd.py a real systemd reads them."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.cli.systemd import systemctl, unit_files
from agent.cli.systemd.systemctl import Systemd, SystemdUnavailable
from agent.cli.systemd.unit_files import DATA_DIR, ServiceFiles, ServiceRole
from agent.configuration import units_directory
from agent.core.errors import ConfigurationError
from agent.power_helper import helper

TOKEN = "AITBC_MINER__ENROLMENT_TOKEN"  # noqa: S105 - a variable's name


@pytest.fixture
def files(tmp_path: Path) -> ServiceFiles:
    manager = Systemd(user=False, units=tmp_path / "units", settings=tmp_path / "etc")
    return ServiceFiles(manager, ServiceRole.AGENT, helper=tmp_path / "libexec/helper")


def test_the_unit_is_the_shipped_one_and_secrets_are_private(files: ServiceFiles) -> None:
    """Under any umask."""
    unit, drop_in, settings = files.paths
    before = os.umask(0)
    try:
        assert all(files.write({TOKEN: 'a "token" \\ here'}).values())
    finally:
        os.umask(before)
    assert unit.read_bytes() == (units_directory() / "aitbc-agent.service").read_bytes()
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert settings.read_text() == f'{TOKEN}="a \\"token\\" \\\\ here"\n'
    assert "token" not in drop_in.read_text()
    assert f"ExecStart={unit_files.program()} start" in drop_in.read_text()


def test_writing_again_changes_the_given_settings_and_keeps_the_owners_lines(files: ServiceFiles) -> None:
    """An owner may add settings by hand."""
    files.write({TOKEN: "old"})
    with files.settings.open("a") as file:
        file.write("# mine\nAITBC_MINER__NAME=rig\n")
    assert not any(files.write({}).values())
    assert [path for path, new in files.write({TOKEN: "new"}).items() if new] == [files.settings]
    assert files.settings.read_text() == f'# mine\nAITBC_MINER__NAME=rig\n{TOKEN}="new"\n'


def test_an_installation_in_a_home_directory_stays_visible(
    files: ServiceFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only the outermost directories are bound, and the home directory is accessible to the service's user."""
    home = tmp_path / "home"
    for name in ("me/venv/lib", "me/python 3"):
        (home / name).mkdir(parents=True)
    monkeypatch.setattr(unit_files, "_HOMES", (home,))
    monkeypatch.setattr(unit_files.sys, "prefix", str(home / "me/venv"))
    monkeypatch.setattr(unit_files.sys, "base_prefix", str(home / "me/python 3"))
    monkeypatch.setattr(unit_files.sys, "path", [str(home / "me/venv/lib")])
    files.write({})
    lines = files.paths[1].read_text().splitlines()[4:]
    assert lines == [
        f"TemporaryFileSystem={home}:ro,mode=0755",
        f'BindReadOnlyPaths="{home}/me/python 3"',
        f"BindReadOnlyPaths={home}/me/venv",
    ]


def test_a_service_runs_as_the_owner_of_its_data_directory(files: ServiceFiles, tmp_path: Path) -> None:
    """A directory of root, or a missing one, is refused with a remedy."""
    directory = tmp_path / "data"
    with pytest.raises(ConfigurationError, match="install -d -m 700 -o USER"):
        files.write({DATA_DIR: str(directory)})
    directory.mkdir()
    if os.geteuid() != 0:
        pytest.skip("giving a directory to another user requires root")
    with pytest.raises(ConfigurationError, match="belongs to root"):
        files.write({DATA_DIR: str(directory)})
    os.chown(directory, 65534, 65534)
    files.write({DATA_DIR: str(directory)})
    assert f"User=nobody\nBindPaths={directory}\nReadWritePaths={directory}\n" in files.paths[1].read_text()
    assert files.data_dir() == directory
    files.write({})  # the setting stays without the option
    assert files.data_dir() == directory
    assert "User=nobody" in files.paths[1].read_text()


def test_removal_keeps_the_owners_own_drop_ins(files: ServiceFiles) -> None:
    """All written files are removed."""
    files.write({TOKEN: "x"})
    own = files.paths[1].with_name("override.conf")
    own.touch()
    assert files.remove() == list(files.paths)
    assert own.exists()
    assert not files.settings.parent.exists()


def test_the_helper_for_power_limits_is_installed_on_demand_and_updated(files: ServiceFiles) -> None:
    """It is a copy that only root can change, and serves the user that the agent runs as. Removal removes it too."""
    program, unit, drop_in = files.helper_paths
    files.write({})
    assert not unit.exists()
    assert files.write({}, power_limits=True) | {} == {
        **dict.fromkeys(files.paths[:2], False), **dict.fromkeys(files.helper_paths, True)
    }  # fmt: skip
    assert program.read_bytes() == Path(helper.__file__).read_bytes()
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert "AITBC_USER=aitbc-agent" in drop_in.read_text()
    program.write_text("an older version")
    assert [path for path, new in files.write({}).items() if new] == [program]
    assert set(files.remove()) == {*files.paths[:2], program, unit, drop_in}
    assert not drop_in.parent.exists()


def test_a_package_brings_the_units_and_only_settings_are_written(
    tmp_path: Path, files: ServiceFiles
) -> None:
    """What another installation has left is removed, since it would hide the package's units."""
    files.write({TOKEN: "old"}, power_limits=True)
    packaged = replace(files, packaged_units=tmp_path / "packaged")
    packaged.packaged_units.mkdir()
    (packaged.packaged_units / "aitbc-agent.service").touch()
    written = packaged.write({TOKEN: "new"}, power_limits=True)
    assert written == dict.fromkeys((*files.paths, *files.helper_paths), True)
    assert [path for path in written if path.exists()] == [files.settings]
    assert packaged.write({}) == {files.settings: False}
    assert packaged.remove() == [files.settings]


def test_a_packaged_service_runs_as_the_owner_of_its_data_directory(
    tmp_path: Path, files: ServiceFiles
) -> None:
    """The drop-in leaves the package's command as it is, and the helper for power limits serves the same user."""
    if os.geteuid() != 0:
        pytest.skip("giving a directory to another user requires root")
    packaged = replace(files, packaged_units=tmp_path / "packaged")
    packaged.packaged_units.mkdir()
    (packaged.packaged_units / "aitbc-agent.service").touch()
    directory = tmp_path / "data"
    directory.mkdir()
    os.chown(directory, 65534, 65534)
    packaged.write({DATA_DIR: str(directory)})
    drop_in = packaged.paths[1].read_text()
    assert "User=nobody" in drop_in
    assert "ExecStart" not in drop_in
    assert "AITBC_USER=nobody" in packaged.helper_paths[2].read_text()


def test_a_machine_without_systemd_gets_an_alternative(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For example in containers."""
    monkeypatch.setattr(systemctl, "RUNNING", tmp_path / "none")
    done = run("service", "install")
    assert done.code == 1
    assert done.err.startswith("aitbc-agent: This machine does not run systemd")
    with pytest.raises(SystemdUnavailable):
        systemctl.find(user=True)


def test_line_breaks_cannot_inject_a_setting(files: ServiceFiles) -> None:
    with pytest.raises(ConfigurationError, match="line breaks"):
        files.write({TOKEN: "x\nLD_PRELOAD=/tmp/evil.so"})


def test_the_service_starts_the_installed_command_and_not_a_version_that_an_update_has_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That version is deleted by a later update."""
    base, version = tmp_path / "base", tmp_path / "versions/9.0.0"
    for environment in (base, version):
        (environment / "bin").mkdir(parents=True)
        (environment / "bin/aitbc-agent").touch()
    (version / "aitbc-base").write_text(str(base))
    monkeypatch.setattr(sys, "prefix", str(version))
    monkeypatch.setattr(sys, "executable", str(version / "bin/python"))
    assert unit_files.program() == base / "bin/aitbc-agent"
