#!/usr/bin/env python3
"""Fuzzes the parsers of untrusted input, guided by coverage.

scripts/testing/fuzz.py                        ten minutes for each target, two at a time
scripts/testing/fuzz.py note proof --minutes 1
scripts/testing/fuzz.py --keep                 saves inputs that reached new code to tests/fuzzing/corpus

Needs the extra `fuzz`: .venv/bin/pip install -e '.[fuzz]'. A run writes to build/fuzz: `corpus/TARGET` has the inputs that reached new code, `TARGET.log` the
fuzzer's output, and `TARGET-crash-...` an input that raised an unexpected error. After the fix, `--keep` saves that input too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/fuzz"
MAX_BYTES = 6000
"""Maximum length of an input: parsers fail because of an input's form, not its length."""
MAX_CORPUS_BYTES = 1500
"""Maximum length of an input in the tests' corpus, so that the corpus stays small."""
SLOW_SECONDS = 5
"""An input that takes longer counts as a crash: it would block an event loop."""
MAX_CORPUS = 120
"""Maximum number of inputs per target that one call adds to the tests' corpus."""
AT_ONCE = 2

sys.path.insert(0, str(ROOT / "tests"))


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one target as libFuzzer's `arguments` specify. Ends the process."""
    import atheris  # noqa: PLC0415 - has no wheels for every Python, and only this function needs it

    with atheris.instrument_imports(include=["agent", "aitbc", "runners"]):
        from fuzzing.targets import TARGETS  # noqa: PLC0415 - instrumented on the way in
    target = TARGETS[name]

    def feed(data: bytes) -> None:
        target.accepts(data)

    atheris.Setup([sys.argv[0], *arguments], feed)
    atheris.Fuzz()


def run(name: str, *arguments: str) -> int:
    """Run the fuzzer in a process of its own, with its output in a file. Returns its exit status."""
    limits = [f"-max_len={MAX_BYTES}", f"-timeout={SLOW_SECONDS}", f"-artifact_prefix={BUILD}/{name}-"]
    with (BUILD / f"{name}.log").open("w") as log:
        command = [sys.executable, __file__, "--one", name, *limits, *arguments]
        return subprocess.run(command, check=False, stdout=log, stderr=log, cwd=ROOT).returncode


def search(name: str, minutes: float) -> bool:
    """Search for inputs on which a target fails. Returns whether there is none."""
    from fuzzing.corpus import read_corpus  # noqa: PLC0415 - `fuzz` needs it instrumented
    from fuzzing.targets import TARGETS  # noqa: PLC0415 - as above

    corpus = BUILD / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    known = [*TARGETS[name].seeds(), *(entry.data for entry in read_corpus(name))]
    for number, data in enumerate(known):
        (corpus / f"known-{number}").write_bytes(data)
    status = run(name, f"-max_total_time={round(minutes * 60)}", str(corpus))
    lines = (BUILD / f"{name}.log").read_text(errors="replace").splitlines()
    runs = next((line for line in reversed(lines) if line.startswith("Done")), f"see {BUILD / name}.log")
    print(f"fuzz: {name:16} {'ok    ' if status == 0 else 'BROKEN'} {runs}", flush=True)
    return status == 0


def keep(name: str) -> bool:
    """Save the shortest inputs that reached new code, and all crashes, to the tests' corpus."""
    from fuzzing.corpus import read_corpus, write_corpus  # noqa: PLC0415 - `fuzz` needs it instrumented

    inputs = [path.read_bytes() for path in (BUILD / "corpus" / name).glob("*")]
    crashes = [path.read_bytes() for path in BUILD.glob(f"{name}-*-*") if path.is_file()]
    known = [entry.data for entry in read_corpus(name)]
    short = sorted(
        (data for data in inputs if len(data) <= MAX_CORPUS_BYTES), key=lambda data: (len(data), data)
    )
    count = write_corpus(name, [*known, *short[:MAX_CORPUS], *crashes])
    print(f"fuzz: {name:16} {count} inputs", flush=True)
    return True


def main() -> int:
    """Entry point."""
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2], sys.argv[3:])
    from fuzzing.targets import TARGETS  # noqa: PLC0415 - `fuzz` needs it instrumented

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=10, help="per target (10)")
    parser.add_argument("--keep", action="store_true", help="save new inputs to the tests' corpus")
    chosen = parser.parse_args()
    if unknown := set(chosen.targets) - set(TARGETS):
        parser.error(
            f"there is no target {', '.join(sorted(unknown))}; the targets are: {', '.join(TARGETS)}"
        )
    BUILD.mkdir(parents=True, exist_ok=True)
    work = keep if chosen.keep else partial(search, minutes=chosen.minutes)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return 0 if all(list(pool.map(work, chosen.targets or TARGETS))) else 1


if __name__ == "__main__":
    sys.exit(main())
