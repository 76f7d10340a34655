"""Proves that a feature of the coordinator is optional: removes it from a copy of this repository, and checks and tests what is left.

scripts/test --without NAME [--all]    removes agent/coordinator/features/NAME, its tests, and its line in the list of features
scripts/test --without NAME --keep     leaves the copy in build/without

In the copy, an agent starts and runs a real job, the checks of `make check` that a missing feature can break must pass, and so must some
tests that use much of the coordinator; with `--all`, all tests of `make test`. Pages that describe the feature are left as they are.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.features import OPTIONAL  # noqa: E402 - after the path is set

FOLDERS: Final = ("agent/coordinator/features", "tests/features", "tests/support", "benchmarks/measuring")
"""Where features have a folder of their name."""

LIST: Final = "agent/features.py"
"""The file with the list of features. Entry points that nobody reads may remain."""

PAGES: Final = ("pages", "reference_pages", "settings_pages", "threat_model", "monitoring")
"""Declarations that compare written pages and dashboards with the code."""

CHECKS: Final = (
    ("ruff", "check", "--quiet", "--output-format", "concise", "."),
    ("ruff", "format", "--check", "--quiet", "."),
    ("mypy",),
    ("lint-imports",),
    ("python", "scripts/names.py"),
    (
        "python",
        "-m",
        "pytest",
        "-q",
        "tests/declarations",
        *(f"--ignore=tests/declarations/test_{name}.py" for name in PAGES),
        "--deselect=tests/declarations/test_openapi.py::test_the_generated_pages_links_are_valid",
    ),
)

JOB: Final = ("tests/acceptance/one_agent/test_first_light.py::test_a_video_is_transcoded",)
"""Starts an agent as an owner does, and runs a job of a client on it."""

TELLING: Final = (
    "tests/features/prometheus/test_prometheus.py",
    "tests/contract/jobs/test_conformance.py",
    "tests/contract/jobs/test_job_data.py",
    "tests/contract/market/test_wallet.py",
    "tests/contract/miners/test_session.py",
    "tests/features/retention/test_retention.py",
    "tests/unit/test_settings.py",
)
"""Tests that use much of the coordinator in little time."""


def main() -> int:
    """Check what is left without the feature. Return the exit code."""
    parser = argparse.ArgumentParser(description="Checks the repository without a feature.")
    parser.add_argument("name", choices=OPTIONAL)
    parser.add_argument("--all", action="store_true", help="run all tests that are left")
    parser.add_argument("--keep", action="store_true", help="leave the copy behind")
    options = parser.parse_args()
    tests = (
        TELLING
        if not options.all
        else (
            "-n",
            str(os.cpu_count()),
            "-m",
            "not ship and not chaos",
            "--ignore",
            "tests/acceptance/ship",
            "--ignore",
            "tests/declarations",
        )
    )
    with copied(ROOT / f"build/without/{options.name}-{os.getpid()}", keep=options.keep) as tree:
        remove(tree, options.name)
        failed = list(mentions(tree, options.name))
        for line in failed:
            print(line)
        pytest = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
        for command in (*CHECKS, (*pytest, *JOB), (*pytest, *tests)):
            failed += run(tree, command)
    if failed:
        print(f"without {options.name}: FAILED", file=sys.stderr)
    return bool(failed)


@contextmanager
def copied(tree: Path, *, keep: bool) -> Iterator[Path]:
    """Make a copy of the repository with its environment, changes that are not committed included, and remove it afterwards.

    The files of installed packages are links.
    """
    commit = git("stash", "create") or "HEAD"
    git("worktree", "add", "--quiet", "--detach", str(tree), commit)
    try:
        for name in filter(None, git("ls-files", "-z", "--others", "--exclude-standard").split("\0")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
        for built in ("agent/coordinator/web/dist", "sdk/js/dist"):
            shutil.copytree(ROOT / built, tree / built)
        for packages in ("node_modules", "scripts/pages/types/node_modules"):
            if (ROOT / packages).exists():
                (tree / packages).symlink_to(ROOT / packages)
        # The types of what is left are in the cache already.
        if (ROOT / ".mypy_cache").exists():
            shutil.copytree(ROOT / ".mypy_cache", tree / ".mypy_cache")
        subprocess.run(["cp", "-al", ROOT / ".venv", tree / ".venv"], check=True)
        for path in installed_paths(tree):
            text = path.read_text(encoding="utf-8")
            mode = path.stat().st_mode
            path.unlink()  # a link to the file of the original
            path.write_text(text.replace(str(ROOT), str(tree)), encoding="utf-8")
            path.chmod(mode)
        yield tree
    finally:
        if not keep:
            shutil.rmtree(tree)
            git("worktree", "prune")


def installed_paths(tree: Path) -> list[Path]:
    """Return the files of the environment in which the path of the repository stands."""
    patterns = (
        "bin/*",
        "pyvenv.cfg",
        "lib/python*/site-packages/*.pth",
        "lib/python*/site-packages/*.dist-info/direct_url.json",
    )
    return [
        path
        for pattern in patterns
        for path in (tree / ".venv").glob(pattern)
        if path.is_file()
        and not path.is_symlink()
        and path.stat().st_size < 2**20
        and str(ROOT).encode() in path.read_bytes()
    ]


def remove(tree: Path, feature: str) -> None:
    """Remove the feature's folders, the extensions that build on it, and its lines in the lists."""
    module = rf"agent\.coordinator\.features\.{feature}\b"
    for folder in FOLDERS:
        shutil.rmtree(tree / folder / feature, ignore_errors=True)
    for extension in sorted((tree / "extensions").iterdir()):
        if any(
            re.search(module, path.read_text(encoding="utf-8")) for path in extension.glob("aitbc_*/**/*.py")
        ):
            shutil.rmtree(extension)
            without_package(tree / "pyproject.toml", f"aitbc_{extension.name}")
    listed = tree / LIST
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace(f'    "{feature}",\n', ""), encoding="utf-8")


def without_package(project: Path, package: str) -> None:
    """Remove the names of a package from the project's lists, and the contracts that were about it alone."""
    text = re.sub(rf'"{package}[.\w]*",? ?', "", project.read_text(encoding="utf-8"))
    contracts = re.split(r"(?=^\[\[tool\.importlinter\.contracts\]\])", text, flags=re.MULTILINE)
    left = (contract for contract in contracts if "source_modules = []" not in contract)
    project.write_text("".join(left).replace(", ]", "]"), encoding="utf-8")


def mentions(tree: Path, name: str) -> Iterator[str]:
    """Yield the lines of Python files that still name a module of the feature. Tests that need it may import it when they run."""
    module = rf"agent[./]coordinator[./]features[./]{name}\b"
    for folder in ("agent", "runners", "sdk", "extensions", "tests", "benchmarks"):
        named = re.compile(rf"^(from|import) .*{module}" if folder == "tests" else module)
        for path in sorted((tree / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if named.search(line):
                    yield f"{path.relative_to(tree)}:{number}: {line.strip()}"


def run(tree: Path, command: Sequence[str]) -> list[str]:
    """Run a program of the copy's environment. Return the command if it fails, after its output."""
    started = time.monotonic()
    program = tree / ".venv/bin" / command[0]
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [program, *command[1:]],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    words = " ".join(command[:4])
    print(
        f"{words:<60} {'FAILED' if done.returncode else 'ok':<6} {time.monotonic() - started:4.0f} s",
        flush=True,
    )
    if not done.returncode:
        return []
    print(done.stdout[-20_000:], flush=True)
    return [words]


def git(*arguments: str) -> str:
    """Run git in this repository. Return what it prints."""
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
