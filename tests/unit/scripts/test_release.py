"""Parts of `scripts/release`: versions, locks, keys, the index, the bill of materials, and the check that users make."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import pytest
from cyclonedx.schema import SchemaVersion
from nacl.signing import SigningKey

from agent import __version__
from agent.updates.manifest import (
    MEMBER,
    Channel,
    FileDiffers,
    Manifest,
    ReleaseError,
    UnknownKey,
    key_id,
    sign_manifest,
)
from aitbc.canonical import b64encode

ROOT = Path(__file__).parents[3]
KEY = SigningKey(b"k" * 32)
PUBLIC = bytes(KEY.verify_key)
KEYS = {key_id(PUBLIC): PUBLIC}
WHEELS = ("aitbc-0.3.1-py3-none-any.whl", "aitbc_agent-0.3.1-py3-none-any.whl")
RELEASE_WHEEL = "aitbc_release-0.3.1-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts/releasing"))


def part(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_all_files_state_the_same_version() -> None:
    assert list(part("version_places").differing_files(ROOT)) == []


@pytest.mark.parametrize(
    ("version", "npm", "series"),
    [("7.8.9", "7.8.9", ">=7.8,<7.9"), ("7.8.0rc2", "7.8.0-rc.2", ">=7.8.0rc2,<7.9")],
)
def test_the_version_changes_in_all_files(tmp_path: Path, version: str, npm: str, series: str) -> None:
    versions = part("version_places")
    for name in (*versions.STATED, "package-lock.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    versions.set_version(tmp_path, version)
    assert list(versions.differing_files(tmp_path)) == []
    assert versions.version_of(tmp_path) == version
    assert f'"aitbc-agent{series}"' in (tmp_path / "extensions/ray/pyproject.toml").read_text()
    assert f'VERSION = "{npm}"' in (tmp_path / "sdk/js/src/version.ts").read_text()
    for name in versions.STATED:
        assert __version__ not in (tmp_path / name).read_text(), name
    (tmp_path / "sdk/python/pyproject.toml").write_text('\nversion = "7.8.8"\n')
    assert list(versions.differing_files(tmp_path)) == [
        f'sdk/python/pyproject.toml lacks version = "{version}".'
    ]


def test_the_lock_has_packages_with_digests() -> None:
    locks = part("locks")
    packages = locks.locked_packages(locks.REQUIREMENTS.read_text())
    assert {package.name for package in packages} >= {"pydantic", "pydantic-core", "uvloop"}
    assert all(package.version and package.digests for package in packages)
    assert all(len(digest) == 64 for package in packages for digest in package.digests)


def release(folder: Path, version: str = "0.3.1") -> Path:
    """Write a release with two wheels, whose content does not matter."""
    parts = part("release_folder")
    folder.mkdir()
    for name in WHEELS:
        (folder / name).write_text(name)
    manifest = Manifest(
        version=version,
        channel=Channel.STABLE,
        released_at=datetime(2026, 12, 1, tzinfo=UTC),
        python=">=3.11",
        schema_revision="0034",
        reads_schema="0034",
        files=parts.described(folder),
        requirements="",
    )
    envelope = sign_manifest(manifest, KEY)
    (folder / parts.MANIFEST).write_bytes(envelope)
    with ZipFile(folder / RELEASE_WHEEL, "w") as archive:
        archive.writestr(MEMBER, envelope)
    parts.write_sums(folder)
    parts.write_index(folder)
    return folder


def test_the_index_names_all_distributions_with_their_digests(tmp_path: Path) -> None:
    folder = release(tmp_path / "0.3.1")
    page = (folder / "simple/aitbc-agent/index.html").read_text()
    digest = hashlib.sha256(WHEELS[1].encode()).hexdigest()
    assert f'<a href="../../{WHEELS[1]}#sha256={digest}">{WHEELS[1]}</a>' in page
    assert 'href="aitbc-release/"' in (folder / "simple/index.html").read_text()
    part("release_folder").write_index(tmp_path)
    page = (tmp_path / "simple/aitbc/index.html").read_text()
    assert f'href="../../0.3.1/{WHEELS[0]}#sha256=' in page


def test_a_complete_release_passes(tmp_path: Path) -> None:
    folder = release(tmp_path / "release")
    assert part("release_folder").check(folder, KEYS).version == "0.3.1"
    with pytest.raises(UnknownKey):
        part("release_folder").check(folder, {})


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    folder = release(tmp_path / "release")
    (folder / WHEELS[0]).write_text("x" * len(WHEELS[0]))
    part("release_folder").write_sums(folder)
    with pytest.raises(FileDiffers, match=WHEELS[0]):
        part("release_folder").check(folder, KEYS)


def test_an_additional_file_is_refused(tmp_path: Path) -> None:
    folder = release(tmp_path / "release")
    (folder / "aitbc_agent-0.3.1-1-py3-none-any.whl").touch()
    with pytest.raises(ReleaseError, match="SHA256SUMS differs"):
        part("release_folder").check(folder, KEYS)
    part("release_folder").write_sums(folder)
    with pytest.raises(ReleaseError, match="Not in the signed manifest"):
        part("release_folder").check(folder, KEYS)


def test_another_manifest_in_the_wheel_is_refused(tmp_path: Path) -> None:
    folder, other = release(tmp_path / "release"), release(tmp_path / "other", "0.3.2")
    shutil.copy(other / RELEASE_WHEEL, folder)
    with pytest.raises(ReleaseError, match="has another manifest"):
        part("release_folder").check(folder, KEYS)


def test_a_new_key_is_private_and_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signing_key, file = part("signing_key"), tmp_path / "key"
    shipped = tmp_path / "release_keys.toml"
    shipped.write_text("# Keys.\npublic_keys = []\n")
    monkeypatch.setattr(signing_key, "KEYS", shipped)
    signing_key.create_key(file, ROOT)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        signing_key.create_key(file, ROOT)
    with pytest.raises(SystemExit, match="outside"):
        signing_key.create_key(ROOT / "build/key", ROOT)
    assert key_id(bytes(signing_key.read_key(file).verify_key)) in signing_key.shipped_keys()
    assert shipped.read_text().startswith("# Keys.\n")


def test_a_key_that_agents_do_not_trust_signs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(b64encode(bytes(KEY)))
    with pytest.raises(SystemExit, match="not one that agents trust"):
        part("signing_key").read_key(file)
    assert part("signing_key").read_key(file, [b64encode(PUBLIC)]) == KEY


def test_the_bill_of_materials_is_valid_and_the_same_each_time() -> None:
    javascript: dict[str, Any] = {
        "specVersion": "1.5",
        "components": [
            {
                "type": "library",
                "name": "ws",
                "version": "8.1.0",
                "purl": "pkg:npm/ws@8.1.0",
                "bom-ref": "ws",
            },
            {"type": "library", "name": "js", "version": "0.3.1", "purl": "pkg:npm/%40aitbc/client@0.3.1"},
        ],
    }
    locked = part("locks").LockedPackage("anyio", "4.12.0", ("1" * 64, "2" * 64))
    arguments = {"built": {WHEELS[0]: "3" * 64}, "python": [locked], "javascript": javascript}
    text = part("sbom").sbom("0.3.1", datetime(2026, 12, 1, tzinfo=UTC), **arguments)
    # All modules of tests are imported before the first test, and this import takes seconds.
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert {component["name"] for component in json.loads(text)["components"]} == {"anyio", "ws", WHEELS[0]}
    assert text == part("sbom").sbom("0.3.1", datetime(2026, 12, 1, tzinfo=UTC), **arguments)
