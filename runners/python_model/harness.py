"""Runs inside the sandbox: unpacks the client's model, or calls its `predict` and writes the returned value to a file.

A separate program that needs only Python; the project's packages cannot be imported there. Its arguments are a step,
"unpack" or "predict", and the path of a JSON file with `source` (None if it was unpacked before), `entrypoint`, `input`,
`parameters`, `model` (the directory of the model's files), `max_unpacked` (bytes), `packages` (the directory of the
model's required packages), `requirements` (where to put a copy of the archive's requirements.txt) and `result`. It is
started without Python's own search for packages.

A failure is reported on standard error: a sentence, then a traceback of the client's own code.
"""

import importlib.util
import io
import json
import math
import shutil
import site
import sys
import tarfile
import traceback
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

TOO_LARGE = 65
"""Exit status after an archive whose content exceeds the limit."""

FAILED = 66
"""Exit status after a failure whose reason begins standard error's last part, behind `MARK`."""

MARK = "\x1eAITBC "
"""Precedes the reason on standard error, where the model's own lines may stand too."""

MAX_DEPTH = 64
"""Levels of nesting of a returned value."""

TRACEBACK_FRAMES = 12
"""Frames shown of the beginning and of the end of a long traceback, each."""

ADVICE = {
    "bytes": "write it to a file, or return base64 text",
    "bytearray": "write it to a file, or return base64 text",
    "set": "return sorted(value)",
    "frozenset": "return sorted(value)",
    "complex": "return [value.real, value.imag]",
    "datetime.date": "return value.isoformat()",
    "datetime.time": "return value.isoformat()",
    "datetime.timedelta": "return value.total_seconds()",
    "decimal.Decimal": "return float(value), or str(value) to keep every digit",
    "pathlib.PurePath": "return str(value)",
    "enum.Enum": "return value.value",
    "torch.Tensor": "return value.tolist()",
    "pandas.core.frame.DataFrame": "return value.to_dict('records')",
    "pandas.core.series.Series": "return value.tolist()",
    "PIL.Image.Image": "save it to a file in the current directory",
}
"""What to return instead of values that JSON does not have, by the full name of their class."""


PACKAGES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Common packages that are named differently from their module."""


def refuse(reason: str, status: int = FAILED) -> NoReturn:
    """End the program with this reason."""
    sys.stdout.flush()
    sys.stderr.write(f"\n{MARK}{reason}\n")
    sys.stderr.flush()
    sys.exit(status)


def unpack(source: Path, entrypoint: str, directory: Path, max_unpacked: int) -> Path:
    """Unpack an archive below `directory`; return the directory of the entrypoint."""
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                check_sizes((member.file_size for member in archive.infolist()), max_unpacked)
                archive.extractall(directory)  # noqa: S202 - a member never unpacks to more than it declares
        elif tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                sizes = (member.size for member in archive)
                check_sizes(sizes, max_unpacked)
                if hasattr(tarfile, "data_filter"):
                    archive.extractall(directory, filter="data")
                else:  # Python 3.11.2, which Debian 12 has
                    archive.extractall(directory, members=plain_members(archive))  # noqa: S202 - checked
        else:
            refuse("The archive is neither a zip file nor a tar file, or it is incomplete.")
    except Exception as error:  # noqa: BLE001 - an archive of strangers may break any part of the readers
        refuse(f"The archive cannot be unpacked: {str(error) or type(error).__name__}.")
    return root_of(directory, entrypoint)


def plain_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the files and directories. Raises `ValueError` for links, devices and names outside of the archive."""
    for member in archive:
        if not (member.isfile() or member.isdir()):
            raise ValueError(f"{member.name!r} is neither a file nor a directory")
        if PurePosixPath(member.name).is_absolute() or ".." in PurePosixPath(member.name).parts:
            raise ValueError(f"{member.name!r} is outside of the archive")
        yield member


def root_of(directory: Path, entrypoint: str) -> Path:
    """Return the directory of the entrypoint: the archive may contain the files, or one folder with them."""
    entries = list(directory.iterdir())
    packed_as_folder = len(entries) == 1 and entries[0].is_dir()
    for root in (directory, entries[0]) if packed_as_folder else (directory,):
        if (root / entrypoint).is_file():
            return root
    refuse(f"The model's source contains no file {entrypoint}.")


def check_sizes(sizes: Iterable[int], max_unpacked: int) -> None:
    """End the program if the files of an archive are too large in total."""
    total = 0
    for size in sizes:
        total += size
        if total > max_unpacked:
            refuse(
                f"The model's archive unpacks to more than the limit of {max_unpacked:,} bytes "
                "(the miner's setting runners.max_unpacked). Send large files as the job's input instead.",
                TOO_LARGE,
            )


def plain(value: Any, path: str = "", depth: int = 0) -> Any:
    """Return a value as JSON has it, with numbers and arrays of numpy converted. Raises `ValueError` that names the path."""
    at = f" at {path.lstrip('.')}" if path else ""
    if depth > MAX_DEPTH:
        raise ValueError(f"a value that is nested more than {MAX_DEPTH} levels deep{at[:100]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value}{at}, which JSON does not have; return None or text")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {key_of(key, at): plain(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{path}[{number}]", depth + 1) for number, item in enumerate(value)]
    if any(
        kind.__module__ == "numpy" and kind.__name__ in ("ndarray", "generic") for kind in type(value).__mro__
    ):
        return plain(value.tolist(), path, depth)
    raise ValueError(f"{described(value)}{at}, which JSON does not have{advice(value)}")


def key_of(key: Any, at: str) -> str:
    """Return the key of an object as text. Raises `ValueError` for keys that are no text, number or None."""
    converted = key.item() if type(key).__module__ == "numpy" and hasattr(key, "item") else key
    if isinstance(converted, str):
        return converted
    if converted is None or isinstance(converted, bool | int | float):
        return json.dumps(converted)
    raise ValueError(f"a dictionary{at} with {described(key)} as a key; use text as keys")


def described(value: Any) -> str:
    """Return the class of a value in words."""
    kind = type(value)
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__", "model")
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def advice(value: Any) -> str:
    """Return what to return instead, as the end of a sentence."""
    for kind in type(value).__mro__:
        name = (
            kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
        if name in ADVICE:
            return f"; {ADVICE[name]}"
    return "; return numbers, text, lists and dictionaries"


def explained(error: BaseException, action: str) -> str:
    """Return an exception as one sentence, and below it the traceback without the frames of this program."""
    frames = traceback.TracebackException.from_exception(error, compact=True)
    chain: list[traceback.TracebackException] = [frames]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for part in chain:
        model_frames = [
            frame
            for frame in part.stack
            if frame.filename != __file__ and not frame.filename.startswith("<frozen importlib")
        ]
        # An endless recursion has a thousand frames, which would push out the reason.
        if len(model_frames) > 2 * TRACEBACK_FRAMES:
            model_frames[TRACEBACK_FRAMES:-TRACEBACK_FRAMES] = []
        part.stack = traceback.StackSummary.from_list(model_frames)
    summary = next(frames.format_exception_only()).strip()
    if isinstance(error, SyntaxError):
        # The short form of a syntax error is its first line only, without the file.
        summary = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        summary += (
            f". Request the package that has it: --requirements {PACKAGES.get(module, module)} (in the API, model.requirements). "
            "A module of your own belongs into the model's archive."
        )
    return f"{action}: {summary}\n\n{''.join(frames.format()).rstrip()}"


def attempted(action: str, call: Callable[[], Any]) -> Any:
    """Return the result of the client's code; end the program with its traceback if it fails."""
    try:
        return call()
    except SystemExit as error:
        if error.code:
            refuse(f"{action}: it called sys.exit({error.code!r}).")
        refuse(f"{action}: it called sys.exit() instead of returning.")
    except BaseException as error:  # noqa: BLE001 - any exception of the client's code
        refuse(explained(error, action))


def load(root: Path, entrypoint: str) -> Callable[..., Any]:
    """Import the model; return its `predict`."""
    # So that the model can import the files beside it.
    sys.path.insert(0, str(root))
    specification = importlib.util.spec_from_file_location("model", root / entrypoint)
    if specification is None or specification.loader is None:
        refuse(f"{entrypoint} is not a Python module.")
    module = importlib.util.module_from_spec(specification)
    # Pickle and dataclasses look a class up in its module.
    sys.modules["model"] = module
    loader = specification.loader
    attempted(f"{entrypoint} cannot be imported", lambda: loader.exec_module(module))
    function: Callable[..., Any] | None = getattr(module, "predict", None)
    if not callable(function):
        refuse(f"{entrypoint} defines no function predict(input, **parameters).")
    return function


def predict(job: Mapping[str, Any]) -> None:
    """Call the model and write what it returns."""
    site.addsitedir(job["packages"])
    directory = Path(job["model"])
    if job["source"] is not None:
        path = directory / job["entrypoint"]
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(job["source"], path)
    function = load(root_of(directory, job["entrypoint"]), job["entrypoint"])
    returned = attempted("predict failed", lambda: function(job["input"], **job["parameters"]))
    try:
        text = json.dumps(plain(returned), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        refuse(f"predict returned {error}.")
    Path(job["result"]).write_text(text, encoding="utf-8")


def prepare(job: Mapping[str, Any]) -> None:
    """Unpack the model, and copy its requirements to where the miner reads them."""
    root = unpack(Path(job["source"]), job["entrypoint"], Path(job["model"]), job["max_unpacked"])
    listed = root / "requirements.txt"
    if listed.is_file():
        shutil.copyfile(listed, job["requirements"])


def main() -> None:
    """Entry point; ends with `FAILED` or `TOO_LARGE` and a reason on standard error if it fails."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Lines reach the job's log while the model runs, and a name that is not UTF-8 must not end it.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    job = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    {"unpack": prepare, "predict": predict}[sys.argv[1]](job)


if __name__ == "__main__":
    main()
