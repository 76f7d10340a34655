"""Installs a version into an environment of its own: exactly the files whose digests the signed manifest contains."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from agent.core.errors import AgentError
from agent.fault_points import reach
from agent.miner.engines import uv
from agent.miner.models.locks import size_of
from agent.updates.directory import VersionsDirectory, delete
from agent.updates.errors import NotNow, Refused
from agent.updates.installation import DISTRIBUTION
from agent.updates.manifest import Manifest
from agent.updates.releases import Releases
from agent.updates.settings import UpdateSettings

GROUPS: Final = "aitbc."
"""How the groups of entry points begin by which other distributions add to the agent."""
_CHECK_SECONDS: Final = 10.0
_FULL: Final = (
    "The disk of {} became full. What had arrived was deleted. Free some space, or set updates.directory."
)


def install(
    release: Manifest, versions: VersionsDirectory, releases: Releases, settings: UpdateSettings
) -> None:
    """Install a release beside the current version, if it is not there. Raises `NotNow`, `Refused`."""
    if versions.is_complete(release.version):
        return
    path = versions.environment(release.version)
    requirements = list(_requirements(release))
    # The rest of an interrupted installation, which uv cannot continue; what had been downloaded is in its cache.
    delete(path)
    versions.sweep(release.version)
    try:
        _create(release, path, requirements, releases, settings)
        versions.mark_base(release.version)
        reach("update.base_marked")
        versions.complete(
            release.version,
            {
                "version": release.version,
                "schema": release.schema_revision,
                "reads_schema": release.reads_schema,
                "installed_at": time.time(),
            },
        )
        reach("update.completed")
    except uv.DiskFull:
        delete(path)
        raise NotNow(_FULL.format(versions.path)) from None
    except uv.InstallationFailed as error:
        delete(path)
        # A file with another digest is not the release's; the index may have the right one later, after its operator has repaired it.
        raise NotNow(f"Version {release.version} was not installed: {error}.") from None
    except OSError as error:
        delete(path)
        raise NotNow(f"Version {release.version} was not installed: {error}.") from None
    except AgentError:
        delete(path)
        raise


def _create(
    release: Manifest, path: Path, requirements: list[str], releases: Releases, settings: UpdateSettings
) -> None:
    next_check = 0.0

    def check_size() -> None:
        nonlocal next_check
        if time.monotonic() >= next_check:
            if size_of(path) > settings.max_size:
                raise Refused(
                    f"Version {release.version} takes more than updates.max_size. Nothing was installed."
                )
            next_check = time.monotonic() + _CHECK_SECONDS

    tool = releases.uv(settings.install_seconds, on_tick=check_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    reach("update.environment_creating")
    try:
        tool.run("venv", "--no-project", "--python", _python(release), str(path))
    except uv.InstallationFailed as error:
        raise Refused(
            f"Version {release.version} needs Python {release.python}, which is not here and could not be downloaded: {error}. Install "
            "that Python, and the agent with it."
        ) from None
    reach("update.environment_created")
    constraints, wanted = path / "constraints.txt", path / "requirements.txt"
    constraints.write_text("\n".join([release.requirements, *_hashes(release)]), encoding="utf-8")
    wanted.write_text("\n".join(requirements), encoding="utf-8")
    reach("update.packages_downloading")
    # No package runs code of its own while it is installed, and none is installed that the manifest does not contain.
    tool.run(
        "pip", "install", "--python", str(path / "bin/python"), "--require-hashes", "--no-build", "--no-sources",
        "--prerelease", "allow", "--constraint", str(constraints), "--requirement", str(wanted),
    )  # fmt: skip
    reach("update.packages_installed")


def _python(release: Manifest) -> str:
    """Return the interpreter for the environment: this one's, or else one that uv finds or downloads."""
    wanted = SpecifierSet(release.python)
    if wanted.contains(Version(".".join(map(str, sys.version_info[:3])))):
        # An environment that is made from another one breaks when that is replaced.
        return str(Path(getattr(sys, "_base_executable", sys.executable)))
    return release.python


def _wheels(release: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the names of the release's own distributions, with the digests of their wheels."""
    for file in release.files:
        try:
            name, version, _, _ = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        if version == Version(release.version):
            yield name, file.sha256


def _hashes(release: Manifest) -> list[str]:
    return [f"{name}=={release.version} --hash=sha256:{digest}" for name, digest in _wheels(release)]


def _requirements(release: Manifest) -> Iterator[str]:
    """Yield what is to be installed: what this environment has of the release. Raises `Refused` if it has more that belongs to the agent."""
    own = {name for name, _ in _wheels(release)}
    if DISTRIBUTION not in own:
        raise Refused(
            f"Release {release.version} contains no wheel of {DISTRIBUTION}. Nothing was installed."
        )
    here = {canonicalize_name(found.metadata["Name"]): found for found in metadata.distributions()}
    for name, distribution in here.items():
        if name not in own and any(point.group.startswith(GROUPS) for point in distribution.entry_points):
            raise Refused(
                f"{name} is installed beside the agent and not part of its releases, so a new version would lack it. Update both by the tool "
                "that installed them."
            )
    for own_name in sorted(own & here.keys()):
        extras = f"[{','.join(installed_extras())}]" if own_name == DISTRIBUTION else ""
        yield f"{own_name}{extras.replace('[]', '')}=={release.version}"


def installed_extras() -> list[str]:
    """Return the extras of the agent whose packages are all in this environment: a new version gets them too."""
    agent = metadata.metadata(DISTRIBUTION)
    requirements = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    here = {canonicalize_name(found.metadata["Name"]) for found in metadata.distributions()}

    def is_installed(extra: str) -> bool:
        needed = [
            requirement
            for requirement in requirements
            if requirement.marker is not None
            and requirement.marker.evaluate({"extra": extra})
            and not requirement.marker.evaluate({"extra": ""})
        ]
        return bool(needed) and all(
            all(map(is_installed, requirement.extras))
            if canonicalize_name(requirement.name) == DISTRIBUTION
            else canonicalize_name(requirement.name) in here
            for requirement in needed
        )

    return sorted(extra for extra in agent.get_all("Provides-Extra") or () if is_installed(extra))
