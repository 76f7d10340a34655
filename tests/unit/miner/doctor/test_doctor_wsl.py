"""The checks of WSL, on made-up file systems: this machine has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.miner.doctor._wsl import wsl
from agent.settings import Settings

RELEASE = "5.15.167.4-microsoft-standard-WSL2"
ENOUGH = 16 * 2**30


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", cache_dir=tmp_path / "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A WSL2 as it should be."""
    root = tmp_path / "root"
    for name in ("dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "run/systemd/system").mkdir(parents=True)
    return root


def ids(root: Path, settings: Settings, release: str = RELEASE, memory: int = ENOUGH) -> list[str]:
    return [diagnostic.id for diagnostic in wsl(settings, root, release, memory)]


def test_a_complete_wsl_has_no_problem_and_another_machine_no_check(root: Path, settings: Settings) -> None:
    assert [diagnostic.severity for diagnostic in wsl(settings, root, RELEASE, ENOUGH)] == ["ok"]
    assert ids(root, settings, "6.12.0-amd64") == []


def test_the_first_wsl_is_refused(tmp_path: Path, settings: Settings) -> None:
    (first,) = wsl(settings, tmp_path, "4.4.0-19041-Microsoft", ENOUGH)
    assert (first.id, first.severity) == ("wsl_first", "fault")
    assert "wsl --set-version" in (first.remedy or "")


@pytest.mark.parametrize("name", ["dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"])
def test_a_card_that_windows_does_not_pass_on(name: str, root: Path, settings: Settings) -> None:
    (root / name).unlink()
    (problem,) = wsl(settings, root, RELEASE, ENOUGH)
    assert (problem.id, f"/{name} is missing" in problem.message) == ("wsl_no_card", True)


def test_a_driver_for_linux_is_a_fault_and_a_link_to_that_of_windows_is_none(
    root: Path, settings: Settings
) -> None:
    driver = root / "usr/lib/x86_64-linux-gnu/libcuda.so.1"
    driver.parent.mkdir()
    driver.symlink_to(root / "usr/lib/wsl/lib/libcuda.so.1")
    assert ids(root, settings) == ["wsl"]
    driver.unlink()
    driver.touch()
    assert ids(root, settings) == ["wsl_linux_driver"]


@pytest.mark.parametrize(
    ("conf", "problem"),
    [
        (None, "wsl_no_systemd"),
        ("[boot]\nsystemd = false\n", "wsl_no_systemd"),
        ("[user]\ndefault=me\n[boot]\nsystemd=True\n", "wsl_restart"),
        ("not an ini file", "wsl_no_systemd"),
    ],
)
def test_without_systemd_it_says_how_to_get_it(
    conf: str | None, problem: str, root: Path, settings: Settings
) -> None:
    (root / "run/systemd/system").rmdir()
    (root / "etc").mkdir()
    if conf is not None:
        (root / "etc/wsl.conf").write_text(conf)
    assert ids(root, settings) == [problem]


def test_little_memory_names_the_limit_of_windows(root: Path, settings: Settings) -> None:
    (problem,) = wsl(settings, root, RELEASE, 4 * 2**30)
    assert "half of Windows' memory" in problem.message
    config = root / "mnt/c/Users/me/.wslconfig"
    config.parent.mkdir(parents=True)
    config.write_text("\ufeff[wsl2]\nmemory=4GB\n", encoding="utf-8")
    (problem,) = wsl(settings, root, RELEASE, 4 * 2**30)
    assert (problem.id, "limit in .wslconfig is 4GB" in problem.message) == ("wsl_memory", True)


def test_data_on_a_disk_of_windows_is_named_with_its_setting(root: Path, settings: Settings) -> None:
    moved = settings.model_copy(
        update={"data_dir": Path("/mnt/c/Users/me/aitbc"), "models_dir": Path("/mnt/data/models")}
    )
    (problem,) = wsl(moved, root, RELEASE, ENOUGH)
    assert (problem.id, "setting data_dir" in (problem.remedy or "")) == ("wsl_windows_disk", True)
