"""The software bill of materials: the packages of others that a release contains or installs, in CycloneDX's JSON."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from locks import LockedPackage

_OWN_JAVASCRIPT: Final = "pkg:npm/%40aitbc/"
_NAMESPACE: Final = uuid.NAMESPACE_URL


def sbom(
    version: str,
    time: datetime,
    *,
    built: Mapping[str, str],
    python: Iterable[LockedPackage],
    javascript: dict[str, Any],
) -> str:
    """Return the document. The same arguments give the same text.

    `built` are the SHA-256 of the release's own files by their names, and `javascript` is what `npm sbom` prints.
    """
    bom = Bom.from_json(_without_own(javascript))  # type: ignore[attr-defined]
    root = Component(
        name="aitbc-agent",
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref=f"aitbc-agent@{version}",
        purl=PackageURL("pypi", name="aitbc-agent", version=version),
    )
    bom.metadata.component = root
    bom.metadata.timestamp = time
    bom.metadata.tools.tools.clear()
    own = [
        Component(name=name, version=version, type=ComponentType.FILE, bom_ref=name, hashes=[_digest(sha256)])
        for name, sha256 in built.items()
    ]
    packages = [
        Component(
            name=package.name,
            version=package.version,
            bom_ref=f"{package.name}=={package.version}",
            purl=PackageURL("pypi", name=package.name, version=package.version),
            hashes=[_digest(sha256) for sha256 in package.digests],
        )
        for package in python
    ]
    bom.components.update(own, packages)
    bom.dependencies.clear()
    bom.register_dependency(root, bom.components)
    # Otherwise it is a random number.
    bom.serial_number = uuid.uuid5(_NAMESPACE, json.dumps([version, sorted(built.items())]))
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _without_own(javascript: dict[str, Any]) -> dict[str, Any]:
    others = [
        component
        for component in javascript["components"]
        if not component["purl"].startswith(_OWN_JAVASCRIPT)
    ]
    return {"bomFormat": "CycloneDX", "specVersion": javascript["specVersion"], "components": others}


def _digest(sha256: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=sha256)
