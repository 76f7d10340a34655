"""Runs inside the sandbox: unpacks the client's model, calls its `predict`, and writes the returned value to a file.

A separate program that needs only Python; the project's packages cannot be imported there. Its one argument is the path
of a JSON file with `source`, `entrypoint`, `input`, `parameters`, `model` (the directory to unpack into), `max_unpacked`
(bytes), `packages` (the directory of the model's required packages) and `result`. It is started without Python's own
search for packages.
"""

import importlib.util
import json
import shutil
import site
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

TOO_LARGE = 65
"""Exit status after an archive whose content exceeds the limit."""


def unpack(source: Path, entrypoint: str, directory: Path, max_unpacked: int) -> Path:
    """Unpack the model's files below `directory`; return the directory of the entrypoint."""
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            check_sizes((member.file_size for member in archive.infolist()), max_unpacked)
            archive.extractall(directory)  # noqa: S202 - a member never unpacks to more than it declares
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as archive:
            sizes = (member.size for member in archive)
            check_sizes(sizes, max_unpacked)
            archive.extractall(directory, filter="data")
    else:
        (directory / entrypoint).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, directory / entrypoint)
    entries = list(directory.iterdir())
    packed_as_folder = len(entries) == 1 and entries[0].is_dir()
    for root in (directory, entries[0]) if packed_as_folder else (directory,):
        if (root / entrypoint).is_file():
            return root
    sys.exit(f"The model's source contains no file {entrypoint}.")


def check_sizes(sizes: Iterable[int], max_unpacked: int) -> None:
    """End the program if the files of an archive are too large in total."""
    total = 0
    for size in sizes:
        total += size
        if total > max_unpacked:
            sys.stderr.write(
                f"The model's source unpacks to more than {max_unpacked:,} bytes (runners.max_unpacked).\n"
            )
            sys.exit(TOO_LARGE)


def main() -> None:
    """Entry point; ends with status 1 and a reason on standard error if it fails."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    site.addsitedir(job["packages"])
    directory = Path(job["model"])
    directory.mkdir()
    try:
        root = unpack(Path(job["source"]), job["entrypoint"], directory, job["max_unpacked"])
    except (OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        sys.exit(f"The model's source cannot be unpacked: {error}.")
    sys.path.insert(0, str(root))
    specification = importlib.util.spec_from_file_location("model", root / job["entrypoint"])
    if specification is None or specification.loader is None:
        sys.exit(f"{job['entrypoint']} is not a Python module.")
    module = importlib.util.module_from_spec(specification)
    sys.modules["model"] = module
    specification.loader.exec_module(module)
    predict = getattr(module, "predict", None)
    if not callable(predict):
        sys.exit(f"{job['entrypoint']} defines no function predict(input, **parameters).")
    returned = predict(job["input"], **job["parameters"])
    try:
        text = json.dumps(returned, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        sys.exit(f"predict returned a value that is not valid JSON: {error}")
    Path(job["result"]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
