"""`aitbc run`: a Python model of one's own on others' machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from aitbc.cli._batch import check_directory, perform, receipt_of
from aitbc.cli._inputs import Input, check_distinct, find_inputs
from aitbc.cli._names import safe_name
from aitbc.cli._notebook import Notebook
from aitbc.cli._options import BatchOptions, JobOptions, Options, given, with_options
from aitbc.cli._output import encoded, print_text
from aitbc.cli._work import ANY_JOB, Delivery, Outcome, Work, Writer
from aitbc.models import JobResults

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_SUFFIX_LETTERS = 10


@dataclass(frozen=True)
class Program(Options):
    """What of the model is run, and with what."""

    entrypoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="The Python file within an archive. Default: model.py.")
    ] = None
    requirements: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES", help="Packages (numpy,pillow>=11), or a file with one a line; may be repeated."
        ),
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="A parameter: JSON, else text; may be repeated."
        ),
    ] = None
    cpu: Annotated[str | None, typer.Option(metavar="CORES", help="Such as 2 or 500m.")] = None
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Main memory, such as 2Gi.")] = None
    gpu: Annotated[int | None, typer.Option(min=0, metavar="COUNT", help="GPUs.")] = None

    def body(self, model: Path) -> dict[str, Any]:
        """The body of a job for the model. Raises `BadParameter`, and `OSError` for requirements that cannot be read."""
        archive = model.name.lower().endswith(_ARCHIVES)
        if self.entrypoint is not None and not archive:
            raise typer.BadParameter("--entrypoint goes with an archive; a Python file is its own.")
        named = self.entrypoint or ("model.py" if archive else model.name)
        gpu = None if self.gpu is None else str(self.gpu)
        more = {
            "parameters": _parameters(self.param or ()),
            "resources": given({"cpu": self.cpu, "memory": self.memory, "gpu": gpu}),
        }
        return {
            "name": model.name,
            "type": "ai-inference",
            "model": {
                "type": "python",
                "entrypoint": named,
                "requirements": _packages(self.requirements or ()),
            },
            **{name: value for name, value in more.items() if value},
        }


@with_options
def run(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            exists=True,
            dir_okay=False,
            help="A Python file that defines predict(input, **parameters), or an archive that holds it.",
        ),
    ],
    program: Program,
    job: JobOptions,
    batch: BatchOptions,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="Input: files, directories, patterns, URLs; may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write what predict returns and its files here. Default for several inputs: here.",
        ),
    ] = None,
) -> None:
    """Run a Python model, once for each input. What predict returns is printed, or written to NAME.json with -o."""
    check_directory(output)
    found = _inputs(model, inputs or (), batch)
    if output is None and len(found) > 1:
        output = Path()
    body = program.body(model)
    places = [None if output is None else output / _with_end(one.below, ".json") for one in found]
    check_distinct((one.label, place) for one, place in zip(found, places, strict=True) if place is not None)
    works = [
        Work(
            label=one.label,
            route=ANY_JOB,
            body=_with_input(body, one) if inputs else body,
            options=job.body,
            delivery=_Results(place),
            files={"model.source": model, **(one.file_in("input.source") if inputs else {})},
            receipt=receipt_of(job.receipt, one, found),
        )
        for one, place in zip(found, places, strict=True)
    ]
    perform(context, works, as_json=job.as_json, show=_print if output is None else _nothing, batch=batch)


def _inputs(model: Path, named: Sequence[str], batch: BatchOptions) -> list[Input]:
    """The inputs; of a directory all files. In place of none stands the model."""
    if not named:
        return [Input(str(model), model, Path(model.name))]
    return find_inputs(named, None, recursive=batch.recursive, is_output=Notebook().is_output)


def _with_end(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _with_input(body: Mapping[str, Any], one: Input) -> dict[str, Any]:
    suffix = one.below.suffix.removeprefix(".")
    plain = suffix.isascii() and suffix.isalnum() and len(suffix) <= _SUFFIX_LETTERS
    described = {"type": "file", **({"format": suffix} if plain else {})}
    return {**body, "input": {**described, **one.address_in("source")}}


def _packages(given: Sequence[str]) -> list[str]:
    packages: list[str] = []
    for one in given:
        path = Path(one)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else one.split(",")
        names = (line.split("#")[0].strip() for line in lines)
        packages += [name for name in names if name]
    return packages


def _parameters(given: Sequence[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"--param {one} is not NAME=VALUE, such as threshold=0.5.")
        try:
            parameters[name] = json.loads(text)
        except ValueError:
            parameters[name] = text
    return parameters


def _print(outcome: Outcome) -> None:
    if outcome.answer is not None:
        print_text(json.dumps(outcome.answer.results, ensure_ascii=False, indent=2))


def _nothing(_: Outcome) -> None:
    """What is written to files is not printed."""


class _Results(Delivery):
    """What `predict` returned, and the files that it wrote beside it."""

    def __init__(self, place: Path | None) -> None:
        self.places = () if place is None else (place,)

    async def after(self, answer: JobResults, writer: Writer) -> None:
        """See `Delivery.after`."""
        for place in self.places:
            for number, file in enumerate(answer.output_files(), start=1):
                name = safe_name(file.name, f"output-{number}")
                await writer.fetch(file.artifact_id, place.with_name(f"{place.stem}-{name}"))
            await writer.write(place, encoded(answer.to_dict()["results"]))
