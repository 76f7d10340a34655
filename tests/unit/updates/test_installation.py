"""How an installation is recognised, and which commands its owner is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.updates.installation import InstallationWay, installation
from agent.updates.launcher import BASE_FILE

ROOT = Path(__file__).parents[3]


def environment(directory: Path, *, installer: str = "uv", direct_url: object = None) -> Path:
    """Create an environment whose metadata name the agent, without its code."""
    metadata = directory / "lib/python3.12/site-packages/aitbc_agent-0.3.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: aitbc-agent\nVersion: 0.3.0\n")
    (metadata / "INSTALLER").write_text(f"{installer}\n")
    if direct_url is not None:
        (metadata / "direct_url.json").write_text(json.dumps(direct_url))
    return directory


@pytest.mark.parametrize(
    ("receipt", "installer", "way", "update", "uninstall"),
    [
        (
            "uv-receipt.toml",
            "uv",
            "uv tool",
            "uv tool upgrade aitbc-agent",
            "uv tool uninstall aitbc-agent",
        ),
        ("pipx_metadata.json", "pip", "pipx", "pipx upgrade aitbc-agent", "pipx uninstall aitbc-agent"),
        (
            None,
            "pip",
            "pip",
            "PYTHON -m uv pip install --upgrade aitbc-agent",
            "PYTHON -m uv pip uninstall aitbc-agent aitbc",
        ),
        (
            None,
            "deb",
            "deb",
            "sudo apt install ./aitbc-agent_VERSION_ARCHITECTURE.deb",
            "sudo apt remove aitbc-agent",
        ),
    ],
)
def test_an_installation_is_recognised_by_what_its_tool_left(
    tmp_path: Path, receipt: str | None, installer: str, way: str, update: str, uninstall: str
) -> None:
    directory = environment(tmp_path / "venv", installer=installer)
    if receipt is not None:
        (directory / receipt).touch()
    installed = installation(directory)
    python = str(directory / "bin/python")
    assert (installed.way, installed.environment) == (InstallationWay(way), directory)
    assert installed.update == update.replace("PYTHON", python)
    assert installed.uninstall == uninstall.replace("PYTHON", python)
    assert installed.updates_itself is (way != "deb")


def test_an_image_is_updated_from_outside(tmp_path: Path) -> None:
    installed = installation(environment(tmp_path, installer="image"))
    assert installed.way == "image"
    assert not installed.updates_itself


def test_an_environment_of_an_update_belongs_to_the_installation_of_its_owner(tmp_path: Path) -> None:
    base = environment(tmp_path / "tool")
    (base / "uv-receipt.toml").touch()
    update = environment(tmp_path / "versions/0.3.1")
    assert installation(update).way == "pip"
    (update / BASE_FILE).write_text(f"{base}\n")
    assert installation(update) == installation(base)


def test_an_editable_installation_is_a_clone_even_if_uv_installed_it(tmp_path: Path) -> None:
    url = {"url": "file:///home/a%20user/agent", "dir_info": {"editable": True}}
    directory = environment(tmp_path, direct_url=url)
    (directory / "uv-receipt.toml").touch()
    installed = installation(directory)
    assert (installed.way, installed.environment) == ("clone", Path("/home/a user/agent"))
    assert installed.update == "git -C '/home/a user/agent' pull && '/home/a user/agent'/scripts/setup"


def test_a_copy_from_a_directory_is_no_clone(tmp_path: Path) -> None:
    """`pip install DIRECTORY` copies, and a later change of the directory changes nothing."""
    url = {"url": "file:///src/agent", "dir_info": {}}
    assert installation(environment(tmp_path, direct_url=url)).way == "pip"


def test_this_checkout_is_a_clone() -> None:
    assert (installation().way, installation().environment) == ("clone", ROOT)
