"""The remedies of missing packages are commands that work in this installation."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runners.extras import extra_command, install_command

ROOT = Path(__file__).parents[3]
OTHERS_PIP = re.compile(r"""["'][^"'#]*(?<!uv )(?<!-m )\bpip install\b""")


def test_an_extra_is_installed_by_its_packages_into_the_running_environment():
    assert extra_command("s3") == f"{shlex.quote(sys.executable)} -m uv pip install 'obstore>=0.11'"
    assert shlex.split(extra_command("faster-whisper-cuda"))[1:] == [
        *("-m", "uv", "pip", "install"),
        *("ctranslate2>=4.8", "faster-whisper>=1.2", "nvidia-cublas-cu12>=12.4"),
    ]
    assert install_command("bpy", python="/opt/python").endswith(" install --python /opt/python bpy")


def test_an_environment_of_root_needs_sudo(monkeypatch: pytest.MonkeyPatch):
    """As that of the Debian package."""
    monkeypatch.setattr(sys, "prefix", "/")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert install_command("little").startswith(f"sudo {sys.executable} -m uv pip install")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert install_command("little").startswith(f"{sys.executable} -m uv pip install")


def test_the_command_installs_into_an_environment_without_pip(tmp_path: Path):
    """As uv makes them. The working directory and the active environment do not matter."""
    environment = tmp_path / "an environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
    python = environment / "bin/python"
    packages = environment / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (packages / "ours.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    command = subprocess.run(
        [python, "-c", "from runners.extras import install_command; print(install_command('little'))"],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    options = ("--dry-run", "--offline", "--no-index", "--verbose")
    done = subprocess.run(
        [*shlex.split(command), *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert f"at `{environment}/bin/python` (parent interpreter)" in done.stderr


def test_no_remedy_names_a_pip_that_may_be_another_pythons():
    """All of them come from `runners.extras`."""
    sources = [*ROOT.glob("agent/**/*.py"), *ROOT.glob("runners/**/*.py"), *ROOT.glob("extensions/**/*.py")]
    # This one advises clients, on whose machines there is no agent.
    sources.remove(ROOT / "agent/core/versions.py")
    wrong = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sources
        for line in path.read_text().splitlines()
        if OTHERS_PIP.search(line)
    }
    assert not wrong
