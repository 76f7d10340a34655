"""The files that state the project's version, and the command that changes it in all of them.

Package managers of three languages, the image and Kubernetes each need the version in a file of their own. It is `agent.__version__`; a
test fails when one of the others differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from packaging.version import Version

_ROOT: Final = "agent/__init__.py"
_NUMBER: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_PROJECT: Final = '\nversion = "{version}"\n'
_IMAGE: Final = "image: aitbc-agent:{version}\n"
STATED: Final[dict[str, tuple[str, ...]]] = {
    _ROOT: ('__version__ = "{version}"\n',),
    "pyproject.toml": (_PROJECT, '"aitbc{series}"'),
    "sdk/python/pyproject.toml": (_PROJECT,),
    "extensions/evm/pyproject.toml": (_PROJECT, '"aitbc-agent{series}"'),
    "extensions/lightning/pyproject.toml": (_PROJECT, '"aitbc-agent{series}"'),
    "extensions/ray/pyproject.toml": (_PROJECT, '"aitbc-agent{series}"'),
    "sdk/js/package.json": ('"version": "{npm}"',),
    "sdk/js/src/version.ts": ('VERSION = "{npm}"',),
    "agent/coordinator/web/package.json": ('"version": "{npm}"', '"@aitbc/client": "^{npm}"'),
    "Dockerfile.cuda": ("ARG VERSION={version}\n",),
    "configs/kubernetes/base/coordinator.yaml": (_IMAGE,),
    "configs/kubernetes/base/miner.yaml": (_IMAGE,),
    "configs/kubernetes/ray/head.yaml": (_IMAGE,),
}
"""The texts with the version, by file. package-lock.json states it too, among the versions of others."""
_LOCK: Final = "package-lock.json"
_WORKSPACES: Final = ("sdk/js", "agent/coordinator/web")


def version_of(root: Path) -> str:
    """Return the version of the project in a directory."""
    match = _NUMBER.search((root / _ROOT).read_text(encoding="utf-8"))
    if match is None:
        raise SystemExit(f"{root / _ROOT} has no line __version__ = ...")
    return match[1]


def differing_files(root: Path) -> Iterator[str]:
    """Yield a sentence for each text that does not have the version of `agent/__init__.py`."""
    forms = _forms(version_of(root))
    for name, templates in STATED.items():
        text = (root / name).read_text(encoding="utf-8")
        yield from (
            f"{name} lacks {wanted.strip()}."
            for wanted in (template.format(**forms) for template in templates)
            if wanted not in text
        )
    lock = json.loads((root / _LOCK).read_text(encoding="utf-8"))
    if _with_version(json.loads(json.dumps(lock)), forms) != lock:
        yield f"{_LOCK} has another version of the project's own packages than {forms['npm']}."


def set_version(root: Path, version: str) -> None:
    """Change the version of the project in a directory. Exits with a message if a file does not have the present one."""
    if differing := list(differing_files(root)):
        raise SystemExit("\n".join(differing))
    present, wanted = _forms(version_of(root)), _forms(version)
    for name, templates in STATED.items():
        file = root / name
        text = file.read_text(encoding="utf-8")
        for template in templates:
            text = text.replace(template.format(**present), template.format(**wanted))
        file.write_text(text, encoding="utf-8")
    file = root / _LOCK
    lock = _with_version(json.loads(file.read_text(encoding="utf-8")), wanted)
    file.write_text(json.dumps(lock, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_version(lock: dict[str, Any], forms: dict[str, str]) -> dict[str, Any]:
    for workspace in _WORKSPACES:
        package = lock["packages"][workspace]
        package["version"] = forms["npm"]
        if "@aitbc/client" in package["dependencies"]:
            package["dependencies"]["@aitbc/client"] = f"^{forms['npm']}"
    return lock


def _forms(text: str) -> dict[str, str]:
    """Return the version as Python and npm write it, and the specifier of its series."""
    version = Version(text)
    base = version.base_version
    # A specifier with a pre-release also allows pre-releases.
    lowest = text if version.is_prerelease else f"{version.major}.{version.minor}"
    npm = base
    if version.pre is not None:
        npm = f"{base}-{version.pre[0]}.{version.pre[1]}"
    return {
        "version": text,
        "npm": npm,
        "series": f">={lowest},<{version.major}.{version.minor + 1}",
    }
