"""Finds releases on a package index, and verifies what it offers. uv does the talking: the owner's index, proxies and certificates apply."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from packaging.version import InvalidVersion, Version

from agent.fault_points import reach
from agent.miner.engines import uv
from agent.updates import manifest as manifests
from agent.updates.manifest import Channel, Manifest, ReleaseError
from agent.updates.refusals import Refused, UpdateDelayed
from agent.updates.settings import UpdateSettings
from aitbc.errors import FormatError

MANIFEST_SECONDS: Final = 300.0
"""Time limit for the wheel with the manifest, which is less than a megabyte."""
_INDEXES: Final = ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX")
_NOT_THERE: Final = ("No solution found", "was not found in the package registry", "there are no versions of")


class Releases:
    """The releases that an agent may install. `cache` is the directory of uv's cache, on the disk of the installed versions.

    uv inherits `lock`: if this program is killed, the next one waits for it.
    """

    def __init__(self, settings: UpdateSettings, cache: Path, lock: IO[bytes]) -> None:
        self._settings = settings
        self._cache = cache
        self._lock = lock

    def find(self, wanted: str | None) -> Manifest:
        """Return the verified manifest of the `wanted` version, or of the newest one of the owner's channel.

        Raises `UpdateDelayed` if there is none or the index cannot be reached, `Refused` if it must not be trusted.
        """
        reach("update.checking")
        envelope = self._fetch(wanted)
        reach("update.manifest_fetched")
        try:
            keys = manifests.trusted_keys(self._settings.public_keys)
            release = manifests.open_manifest(envelope, keys)
        except FormatError as error:
            raise Refused(f"updates.public_keys: {error}") from None
        except ReleaseError as error:
            raise Refused(str(error)) from None
        reach("update.manifest_checked")
        if wanted is not None and Version(release.version) != _version(wanted):
            raise Refused(
                f"The index has the manifest of {release.version} under the version {wanted}. Nothing was installed. Check updates.index."
            )
        if wanted is None and release.channel is Channel.BETA and self._settings.channel == "stable":
            raise UpdateDelayed(
                f'The newest release, {release.version}, is for testing. Set updates.channel to "beta" to install it.'
            )
        return release

    def _fetch(self, wanted: str | None) -> bytes:
        request = manifests.DISTRIBUTION
        options = ["--no-deps", "--only-binary", ":all:", "--refresh-package", manifests.DISTRIBUTION]
        if wanted is not None:
            request += f"=={_version(wanted)}"
        if wanted is not None or self._settings.channel == "beta":
            options += ["--prerelease", "allow"]
        self._cache.mkdir(parents=True, exist_ok=True)
        # The same directory each time, so that an interrupted command leaves nothing behind.
        target = self._cache / "manifest"
        shutil.rmtree(target, ignore_errors=True)
        try:
            runner = self.uv(MANIFEST_SECONDS, only_releases=True)
            runner.run(
                "pip", "install", "--python", sys.executable, *options, "--target", str(target), request
            )
            envelope = (target / manifests.MEMBER).read_bytes()
        except uv.InstallationFailed as error:
            raise UpdateDelayed(_explained(str(error), wanted)) from None
        except FileNotFoundError:
            raise Refused(
                f"The index has a package {manifests.DISTRIBUTION} without a manifest. Nothing was installed. Check updates.index."
            ) from None
        finally:
            shutil.rmtree(target, ignore_errors=True)
        if len(envelope) > manifests.MAX_BYTES:
            raise Refused(
                f"The release's manifest has more than {manifests.MAX_BYTES} bytes. Nothing was installed."
            )
        return envelope

    def uv(
        self, seconds: float, *, only_releases: bool = False, on_tick: Callable[[], None] = lambda: None
    ) -> uv.Uv:
        """Return uv with a time limit. `only_releases`: it asks the index of the releases alone, if the settings name one."""
        end = time.monotonic() + seconds

        def tick() -> None:
            if time.monotonic() > end:
                raise UpdateDelayed(
                    f"The package index took longer than {seconds:g} s. Try again later, or check updates.index."
                )
            on_tick()

        return uv.Uv(self._variables(only_releases=only_releases), self._lock, tick)

    def _variables(self, *, only_releases: bool) -> Mapping[str, str]:
        variables = uv.environment(self._cache, None)
        index = self._settings.index
        if index is not None:
            if only_releases:
                variables = {name: value for name, value in variables.items() if name not in _INDEXES}
                variables["UV_DEFAULT_INDEX"] = index
            else:
                others = variables.get("UV_INDEX", "")
                # From either of them, since only the digest counts.
                variables |= {
                    "UV_INDEX": f"{index} {others}".strip(),
                    "UV_INDEX_STRATEGY": "unsafe-best-match",
                }
        return variables


def is_newer(version: str, than: str) -> bool:
    """Return whether a version comes after another one."""
    return _version(version) > _version(than)


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise Refused(f"{text!r} is not a version, such as 0.3.1.") from None


def _explained(message: str, wanted: str | None) -> str:
    if any(sign in message for sign in _NOT_THERE):
        version = "no release" if wanted is None else f"no release {wanted}"
        return f"The package index has {version} of the agent. Check updates.index and updates.channel."
    return f"The release could not be fetched: {message}."
