"""Installs a version into an environment of its own: exactly the files whose digests the signed manifest contains.

What the owner has added to the agent by extras is not part of a release. It is installed in the versions that are here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from agent.core.errors import AgentError
from agent.fault_points import reach
from agent.miner.engines import uv
from agent.miner.models.locks import size_of
from agent.updates.directory import VersionsDirectory, delete
from agent.updates.installation import DISTRIBUTION
from agent.updates.manifest import Manifest
from agent.updates.refusals import Refused, UpdateDelayed
from agent.updates.releases import Releases
from agent.updates.settings import UpdateSettings

GROUPS: Final = "aitbc."
"""How the groups of entry points begin by which other distributions add to the agent."""
_CORE: Final = (DISTRIBUTION, "aitbc")
_CHECK_SECONDS: Final = 10.0
_FULL: Final = (
    "The disk of {} became full. What had arrived was deleted. Free some space, or set updates.directory."
)


@dataclass(frozen=True, slots=True)
class _Packages:
    """What to install, as requirements: the agent with what the release has locked, the release's extensions, and what its owner has added."""

    core: list[str]
    extensions: list[str]
    added: list[str]


def install(
    release: Manifest, versions: VersionsDirectory, releases: Releases, settings: UpdateSettings
) -> None:
    """Install a release beside the current version, if it is not there. Raises `UpdateDelayed`, `Refused`."""
    if versions.is_complete(release.version):
        return
    path = versions.environment(release.version)
    packages = _packages(release)
    # The rest of an interrupted installation, which uv cannot continue; what had been downloaded is in its cache.
    delete(path)
    versions.sweep(release.version)
    try:
        _create(release, path, packages, releases, settings)
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
        raise UpdateDelayed(_FULL.format(versions.path)) from None
    except (uv.InstallationFailed, OSError) as error:
        delete(path)
        # A file with another digest is not the release's; the index may have the right one later, after its operator has repaired it.
        raise UpdateDelayed(f"Version {release.version} was not installed: {error}.") from None
    except AgentError:
        delete(path)
        raise


def _create(
    release: Manifest, path: Path, packages: _Packages, releases: Releases, settings: UpdateSettings
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
    constraints = path / "constraints.txt"
    constraints.write_text("\n".join([release.requirements, *_hashes(release)]), encoding="utf-8")
    reach("update.packages_downloading")
    # No package runs code of its own while it is installed.
    install = ("pip", "install", "--python", str(path / "bin/python"), "--no-build", "--no-sources")
    locked = ("--require-hashes", "--prerelease", "allow", "--constraint", str(constraints))
    tool.run(*install, *locked, *packages.core)
    if packages.extensions:
        tool.run(*install, *locked, "--no-deps", *packages.extensions)
    if packages.added:
        tool.run(*install, "--no-deps", *packages.added)
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


def _packages(release: Manifest) -> _Packages:
    """Return what this environment has of the release, and what belongs to it. Raises `Refused` if a new version would lack something."""
    own = {name for name, _ in _wheels(release)}
    if not own.issuperset(_CORE):
        raise Refused(
            f"Release {release.version} contains no wheels of {' and '.join(_CORE)}. Nothing was installed."
        )
    here = {canonicalize_name(item.metadata["Name"]): item for item in metadata.distributions()}
    for name, distribution in here.items():
        if name not in own and any(point.group.startswith(GROUPS) for point in distribution.entry_points):
            raise Refused(
                f"{name} is installed beside the agent and not part of its releases, so a new version would lack it. Update both by the tool "
                "that installed them."
            )
    extensions = sorted((own & here.keys()).difference(_CORE))
    needed: set[str] = set()
    for extension in extensions:
        _gather(Requirement(extension), here, needed)
    for extra in installed_extras():
        _gather(Requirement(f"{DISTRIBUTION}[{extra}]"), here, needed)
    locked = {
        canonicalize_name(line.partition("==")[0])
        for line in release.requirements.splitlines()
        if "==" in line[:80]
    }
    return _Packages(
        [f"{name}=={release.version}" for name in _CORE],
        [f"{name}=={release.version}" for name in extensions],
        sorted(f"{name}=={here[canonicalize_name(name)].version}" for name in needed - locked - own),
    )


def _gather(
    requirement: Requirement, here: dict[NormalizedName, metadata.Distribution], needed: set[str]
) -> None:
    """Add the distributions of this environment that a requirement needs, with its extras."""
    name = canonicalize_name(requirement.name)
    if name not in here or (name in needed and not requirement.extras):
        return
    is_new = name not in needed
    needed.add(name)
    for line in here[name].requires or ():
        further = Requirement(line)
        extras = (*requirement.extras, *([""] if is_new else []))
        if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
            _gather(further, here, needed)


def installed_extras() -> list[str]:
    """Return the extras of the agent whose packages are all in this environment."""
    agent = metadata.metadata(DISTRIBUTION)
    requirements = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    here = {canonicalize_name(item.metadata["Name"]) for item in metadata.distributions()}

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
