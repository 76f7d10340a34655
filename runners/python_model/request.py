"""The request and the result of a job with the client's own Python model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runners.api import File, Inline, InputFile, Strict

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
"""Extensions of archives with a model of several files."""

_VERSION = r"(?:===|==|~=|!=|>=|<=|>|<)\s*[A-Za-z0-9.*+!_-]+"
_REQUIREMENT = re.compile(
    rf"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9._, -]+\])?\s*(?:{_VERSION}(?:\s*,\s*{_VERSION})*)?"
)

_COMMENT = re.compile(r"(^|\s)#.*$")

MAX_REQUIREMENTS = 50
"""Packages that a request may name, and as many again in its archive."""


def _requirement(text: str) -> str:
    if len(text) > 200 or not _REQUIREMENT.fullmatch(text):  # noqa: PLR2004 - far longer than any real one
        raise ValueError(
            f"{text[:50]!r} is not a package name with an optional version, such as 'numpy' or 'numpy>=2'"
        )
    return re.sub(r"\s+", "", text)


def listed_requirements(text: str) -> tuple[str, ...]:
    """Return the packages of a requirements.txt. Raises `ValueError` that names the line which is anything else."""
    requirements: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = _COMMENT.sub("", line).strip()
        if not content:
            continue
        try:
            requirements.append(_requirement(content))
        except ValueError as error:
            raise ValueError(
                f"line {number}: {error}; options, addresses, hashes and environment markers are not supported"
            ) from None
    if len(requirements) > MAX_REQUIREMENTS:
        raise ValueError(f"it names {len(requirements)} packages, and the limit is {MAX_REQUIREMENTS}")
    return tuple(requirements)


class PythonModel(Strict):
    """The client's program.

    `entrypoint` is the file that defines `predict(input, **parameters)`; `source` is that file, or an archive that
    contains it. `requirements` are package names with optional versions, and so are the lines of the archive's
    `requirements.txt` next to the entrypoint's top directory; all are installed from wheels only. A `deterministic` model returns the
    same value and files for the same input on every machine with the same packages, so that another miner can check them.
    """

    type: Literal["python"] = "python"
    entrypoint: str = Field(
        max_length=200,
        pattern=r"^(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/){0,8}[A-Za-z0-9_-][A-Za-z0-9_.-]*\.py$",
        examples=["model.py"],
    )
    requirements: tuple[Annotated[str, AfterValidator(_requirement)], ...] = Field(
        default=(), max_length=MAX_REQUIREMENTS
    )
    deterministic: bool = False
    source: Annotated[str | Inline | None, InputFile(upload=True)] = None


class ModelInput(Strict):
    """The input file of `predict`. `format` becomes the extension of its name."""

    type: str = Field(default="file", max_length=50)
    format: str | None = Field(default=None, pattern=r"^[A-Za-z0-9]{1,10}$", examples=["jpeg"])
    source: Annotated[str | Inline | None, InputFile(upload=True)] = None


class ModelOutput(Strict):
    """The kind of value that `predict` returns: JSON."""

    type: Literal["json"] = "json"


class InferenceRequest(Strict):
    """Input of the service `ai_inference`. `parameters` are keyword arguments of `predict`."""

    model: PythonModel
    input: ModelInput | None = None
    output: ModelOutput = ModelOutput()
    parameters: dict[str, Any] = Field(default={}, max_length=200)


class InferenceResult(BaseModel, defer_build=True):
    """Output of the service: the value that `predict` returned (as `value` unless it is an object), and the files it wrote."""

    model_config = ConfigDict(extra="allow")

    files: list[File] | None = None


UNNAMED = "input"
"""The name under which the SDKs upload an input that has none."""


def upload_field(request: Mapping[str, Any], name: str) -> str:
    """Return the field that an uploaded file fills: the entrypoint or an archive is the model, any other file its input."""
    model = request.get("model")
    entrypoint = model.get("entrypoint") if isinstance(model, Mapping) else None
    return "model.source" if name == entrypoint or name.lower().endswith(ARCHIVES) else "input.source"


def title(request: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the program's name, after that of the file that it reads, if it has one."""
    entrypoint: str = request["model"]["entrypoint"]
    read = names.get("input.source")
    return entrypoint if read in (None, UNNAMED) else f"{read} ({entrypoint})"
