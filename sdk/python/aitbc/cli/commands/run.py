"""`aitbc run`: a Python model of your own on the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from aitbc._http.flow import present
from aitbc.answers.jobs import JobResults
from aitbc.cli._arguments.option_names import Options
from aitbc.cli._arguments.options import BatchOptions, JobOptions, with_options
from aitbc.cli._batch.inputs import BatchInput, check_distinct, find_inputs
from aitbc.cli._batch.journal import Journal
from aitbc.cli._batch.names import safe_name
from aitbc.cli._batch.run import check_directory, perform, receipt_of
from aitbc.cli._batch.work import ANY_JOB, BatchWork, Outcome, OutputDelivery, Writer
from aitbc.cli._terminal.output import encoded, print_text

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_LONGEST_SUFFIX = 10


@dataclass(frozen=True)
class ProgramOptions(Options):
    """Which program is run, and with which parameters and resources."""

    entrypoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="The Python file within an archive. Default: model.py.")
    ] = None
    requirements: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES", help="Packages (numpy,pillow>=11), or a requirements file; may be repeated."
        ),
    ] = None
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="The model returns the same for the same input on every machine, so that another miner can check it (--audited).",
        ),
    ] = False
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="A parameter, as JSON or plain text; may be repeated."
        ),
    ] = None
    cpu: Annotated[
        str | None,
        typer.Option(metavar="CORES", help="CPU cores, such as 2 or 500m. Default: the miner's limit."),
    ] = None
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Main memory, such as 2Gi. Default: the miner's limit.")
    ] = None
    gpu: Annotated[
        int | None, typer.Option(min=0, metavar="COUNT", help="The number of GPUs. Default: 0.")
    ] = None

    def body(self, model: Path) -> dict[str, Any]:
        """Return the body of a job for the model. Raises `BadParameter`, and `OSError` if the requirements cannot be read."""
        archive = model.name.lower().endswith(_ARCHIVES)
        if self.entrypoint is not None and not archive:
            raise typer.BadParameter(
                "--entrypoint is only for an archive; a Python file is its own entry point."
            )
        named = self.entrypoint or ("model.py" if archive else model.name)
        gpu = None if self.gpu is None else str(self.gpu)
        options = {
            "parameters": _parameters(self.param or ()),
            "resources": present({"cpu": self.cpu, "memory": self.memory, "gpu": gpu}),
        }
        return {
            "name": model.name,
            "type": "ai-inference",
            "model": {
                "type": "python",
                "entrypoint": named,
                "requirements": _packages(self.requirements or ()),
                **({"deterministic": True} if self.deterministic else {}),
            },
            **{name: value for name, value in options.items() if value},
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
            help="A Python file that defines predict(input, **parameters), or an archive with such a file.",
        ),
    ],
    program: ProgramOptions,
    job: JobOptions,
    batch: BatchOptions,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="Inputs: files, directories, patterns or URLs; may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The directory for results and output files. Default for several inputs: the current directory.",
        ),
    ] = None,
) -> None:
    """Run a Python model once for each input. The return value of predict is printed, or with -o written to NAME.json.

    Examples:
      aitbc run model.py --input cat.jpg
      aitbc run model.py -i pictures/ --requirements numpy,pillow -o results/
      aitbc run model.zip --param threshold=0.5 --memory 4Gi
    """
    check_directory(output)
    found_inputs = _inputs(model, inputs or (), batch)
    if output is None and len(found_inputs) > 1:
        output = Path()
    body = program.body(model)
    targets = [
        None if output is None else output / item.below.with_name(f"{item.below.name}.json")
        for item in found_inputs
    ]
    check_distinct(
        (item.label, target) for item, target in zip(found_inputs, targets, strict=True) if target is not None
    )
    options = job.body(context)
    works = [
        BatchWork(
            label=item.label,
            route=ANY_JOB,
            body=_with_input(body, item) if inputs else body,
            options=options,
            delivery=_Results(target),
            files={"model.source": model, **(item.file_in("input.source") if inputs else {})},
            receipt=receipt_of(job.receipt, item, found_inputs),
        )
        for item, target in zip(found_inputs, targets, strict=True)
    ]
    perform(context, works, job=job, show=_print if output is None else None, batch=batch)


def _inputs(model: Path, named: Sequence[str], batch: BatchOptions) -> list[BatchInput]:
    """Return the inputs (all files of a directory), or the model itself if none was named."""
    if not named:
        return [BatchInput(str(model), model, Path(model.name))]
    return find_inputs(named, None, recursive=batch.recursive, is_output=Journal().is_output)


def _with_input(body: Mapping[str, Any], item: BatchInput) -> dict[str, Any]:
    suffix = item.below.suffix.removeprefix(".")
    plain = suffix.isascii() and suffix.isalnum() and len(suffix) <= _LONGEST_SUFFIX
    described = {"type": "file", **({"format": suffix} if plain else {})}
    return {**body, "input": {**described, **item.address_in("source")}}


def _packages(arguments: Sequence[str]) -> list[str]:
    packages: list[str] = []
    for argument in arguments:
        lines = _lines(Path(argument)) if Path(argument).is_file() else argument.split(",")
        names = (line.split("#")[0].strip() for line in lines)
        packages += [name for name in names if name]
    return packages


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise typer.BadParameter(
            f"--requirements {path} is not a text file with one package per line."
        ) from None


def _parameters(arguments: Sequence[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"--param {argument} is not NAME=VALUE, such as threshold=0.5.")
        try:
            parameters[name] = json.loads(text)
        except ValueError:
            parameters[name] = text
    return parameters


def _print(outcome: Outcome) -> None:
    if outcome.answer is not None:
        print_text(json.dumps(outcome.answer.results, ensure_ascii=False, indent=2))


class _Results(OutputDelivery):
    """The return value of `predict`, with the files that it wrote."""

    def __init__(self, target: Path | None) -> None:
        self.targets = () if target is None else (target,)

    async def after(self, answer: JobResults, writer: Writer) -> None:
        """See `OutputDelivery.after`."""
        for target in self.targets:
            for number, file in enumerate(answer.output_files(), start=1):
                name = safe_name(file.name, f"output-{number}")
                await writer.fetch(file.artifact_id, target.with_name(f"{target.stem}-{name}"))
            await writer.write(target, encoded(answer.to_dict()["results"]))
