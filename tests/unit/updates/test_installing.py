"""Which packages a new version gets."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from agent.updates import installing
from agent.updates.refusals import Refused
from support.updates.releases import Mirror, small_agent

NEXT = "9.0.0"


def test_a_package_that_a_new_version_would_lack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody's own runner is installed beside the agent."""
    found = tmp_path / "own_runner-1.0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: own-runner\nVersion: 1.0\n")
    (found / "entry_points.txt").write_text("[aitbc.runners]\nown = own:Runner\n")
    own = list(metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(metadata, "distributions", lambda: own)
    release = Mirror(tmp_path / "mirror").add(NEXT, small_agent(NEXT))
    with pytest.raises(Refused, match="own-runner is installed beside the agent"):
        installing._packages(release)


def test_what_an_owner_has_added_by_extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The packages of an extra, and what they need, in the versions that are here, but not those that the release has locked."""
    for name, lines in {
        "aitbc_agent-0.3.0": "Provides-Extra: x\nProvides-Extra: y\nRequires-Dist: base\nRequires-Dist: added; extra == 'x'\nRequires-Dist: absent; extra == 'y'",
        "base-1.0": "",
        "added-2.0": "Requires-Dist: needed>=1\nRequires-Dist: base\nRequires-Dist: optional; extra == 'z'",
        "needed-3.0": "",
        "optional-4.0": "",
    }.items():
        distribution, _, version = name.partition("-")
        directory = tmp_path / f"{name}.dist-info"
        directory.mkdir()
        text = f"Metadata-Version: 2.1\nName: {distribution.replace('_', '-')}\nVersion: {version}\n{lines}\n"
        (directory / "METADATA").write_text(text)
    own = {item.metadata["Name"]: item for item in metadata.distributions(path=[str(tmp_path)])}
    monkeypatch.setattr(metadata, "distributions", own.values)
    monkeypatch.setattr(metadata, "metadata", lambda name: own[name].metadata)
    monkeypatch.setattr(metadata, "requires", lambda name: own[name].requires)
    release = Mirror(tmp_path / "mirror").add(NEXT, small_agent(NEXT), "base==1.0 --hash=sha256:00\n")
    packages = installing._packages(release)
    assert packages.added == ["added==2.0", "needed==3.0"]
    assert packages.core == [f"aitbc-agent=={NEXT}", f"aitbc=={NEXT}"]
