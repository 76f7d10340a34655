"""Builds, signs and checks a release. `scripts/release` describes its options."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey
from packaging.version import Version

from agent.coordinator.store.schema.upgrade import HEAD, OLDEST
from agent.updates.manifest import Channel, Manifest, ReleaseError, sign_manifest, trusted_keys
from distributions import Builder
from locks import REQUIREMENTS, locked_packages, missing_packages, write_locks
from release_folder import MANIFEST, check, described, write_index, write_sums
from sbom import sbom
from signing_key import create_key, read_key
from source_tree import working_tree
from version_places import differing_files, set_version, version_of

ROOT: Final = Path(__file__).parents[2]
IMAGE_PROGRAMS: Final = ("podman", "docker")
DOCKERFILE: Final = "Dockerfile.cuda"


def main() -> None:
    """Do what the options say."""
    options = _options()
    if options.new_key:
        create_key(options.new_key, ROOT)
    elif options.bump:
        set_version(ROOT, options.bump)
    elif options.lock:
        write_locks(ROOT)
    elif options.index:
        write_index(options.index)
    elif options.check:
        _check(options.check, options.public_key)
    else:
        _release(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/release", description="Build, sign and check a release.")
    build = parser.add_argument_group("build (the default)")
    build.add_argument("--key", type=Path, metavar="FILE", help="the private key that signs the manifest")
    build.add_argument("--unsigned", action="store_true", help="no signature: agents refuse to update to it")
    build.add_argument("--out", type=Path, default=ROOT / "dist/release", help="default: dist/release")
    build.add_argument(
        "--channel", choices=list(Channel), help="default: beta for a pre-release, else stable"
    )
    build.add_argument("--version", help="build as this version, to try it; the working tree stays as it is")
    build.add_argument("--changed", action="store_true", help="also with changes that are not committed")
    build.add_argument("--offline", action="store_true", help="from the caches of npm and uv only")
    build.add_argument("--debs", action="store_true", help="also the Debian packages, by scripts/deb")
    build.add_argument("--image", action="store_true", help="also the image, by podman or docker")
    parser.add_argument(
        "--public-key",
        action="append",
        default=[],
        help="a key that is trusted besides release_keys.toml, in base64",
    )
    parser.add_argument("--check", type=Path, metavar="DIR", help="verify a release as its users do")
    parser.add_argument(
        "--index", type=Path, metavar="DIR", help="write DIR/simple, for all releases in a folder"
    )
    parser.add_argument(
        "--new-key", type=Path, metavar="FILE", help="create a private key, and trust its public half"
    )
    parser.add_argument("--bump", metavar="VERSION", help="change the version in all files that state it")
    parser.add_argument("--lock", action="store_true", help="resolve the packages of others again")
    return parser.parse_args()


def _release(options: argparse.Namespace) -> None:
    key = _key(options)
    os.umask(0o022)  # the modes in packages must not depend on who builds them
    tree = working_tree(ROOT)
    if tree.is_changed and not options.changed:
        raise SystemExit(
            "The working tree has changes that are not committed. Commit them, or give --changed to try."
        )
    if missing := missing_packages(ROOT):
        raise SystemExit(
            f"{REQUIREMENTS.name} does not satisfy {', '.join(missing)}. Run scripts/release --lock."
        )
    with tempfile.TemporaryDirectory(prefix="aitbc-release-") as directory:
        sources, files = Path(directory, "sources"), Path(directory, "files")
        tree.extract(sources)
        if options.version:
            set_version(sources, options.version)
        if differing := list(differing_files(sources)):
            raise SystemExit("\n".join(differing))
        version = version_of(sources)
        files.mkdir()
        builder = Builder(sources, tree.time, offline=options.offline)
        _step("Building the JavaScript SDK and the dashboard", builder.javascript)
        _step("Building the distributions", lambda: builder.distributions(files))
        shutil.copy(sources / DOCKERFILE, files)
        if options.debs:
            _step("Building the Debian packages", lambda: _debs(files, tree.time))
        built = {file.name: file.sha256 for file in described(files)}
        lock = REQUIREMENTS.read_text(encoding="utf-8")
        bill = sbom(
            version,
            tree.time,
            built=built,
            python=locked_packages(lock),
            javascript=builder.javascript_components(version),
        )
        (files / f"aitbc-agent-{version}.cdx.json").write_text(bill, encoding="utf-8")
        project = tomllib.loads((sources / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        manifest = Manifest(
            version=version,
            channel=Channel(
                options.channel or (Channel.BETA if Version(version).is_prerelease else Channel.STABLE)
            ),
            released_at=tree.time,
            python=project["requires-python"],
            schema_revision=HEAD,
            reads_schema=OLDEST,
            files=described(files),
            requirements=lock,
        )
        envelope = sign_manifest(manifest, *([] if key is None else [key]))
        (files / MANIFEST).write_bytes(envelope)
        builder.release_wheel(files, version, envelope)
        write_sums(files)
        write_index(files)
        target: Path = options.out / version
        # A release that others may serve is replaced as a whole.
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(files, target)
    print(f"Release {version}, {'UNSIGNED' if key is None else 'signed'}: {target}")
    if options.image:
        _step("Building the image", lambda: _image(target, version))


def _key(options: argparse.Namespace) -> SigningKey | None:
    if options.unsigned:
        return None
    if options.key is None:
        raise SystemExit(
            "Name the private key by --key FILE (scripts/release --new-key FILE creates one), or give --unsigned."
        )
    return read_key(options.key, options.public_key)


def _check(folder: Path, additional: list[str]) -> None:
    try:
        manifest = check(folder, trusted_keys(additional))
    except (ReleaseError, OSError) as error:
        raise SystemExit(str(error)) from error
    print(
        f"Release {manifest.version} ({manifest.channel}) is complete and signed: {len(manifest.files)} files."
    )


def _debs(files: Path, time: datetime) -> None:
    words: list[str | Path] = [
        ROOT / "scripts/deb",
        "--wheels",
        files,
        "--out",
        files,
        "--lock",
        REQUIREMENTS,
    ]
    variables = {**os.environ, "SOURCE_DATE_EPOCH": str(int(time.timestamp()))}
    subprocess.run(words, check=True, env=variables)


def _image(folder: Path, version: str) -> None:
    program = next((name for name in IMAGE_PROGRAMS if shutil.which(name)), None)
    if program is None:
        raise SystemExit(f"No image: {' or '.join(IMAGE_PROGRAMS)} is missing. The other files are complete.")
    words: list[str | Path] = [
        program,
        "build",
        "--file",
        folder / DOCKERFILE,
        "--build-arg",
        f"VERSION={version}",
    ]
    words += [] if program == "docker" else ["--format", "docker"]
    subprocess.run([*words, "--tag", f"aitbc-agent:{version}", folder], check=True)


def _step(words: str, action: Callable[[], None]) -> None:
    print(f"release: {words} ...", flush=True)
    action()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
        sys.exit()
    sys.exit(130)
