"""`aitbc imagine`: images from text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from aitbc.answers.jobs import JobResults
from aitbc.cli._arguments.option_names import Parameters
from aitbc.cli._arguments.options import JobOptions, model_option, with_options
from aitbc.cli._batch.inputs import find_inputs
from aitbc.cli._batch.names import format_of, label_of, name_of, numbered, with_number
from aitbc.cli._batch.run import perform
from aitbc.cli._batch.work import BatchWork, OutputDelivery, Writer
from aitbc.cli._terminal.exits import NoSuchResult

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclass(frozen=True)
class ImageOptions(Parameters):
    """How the images are generated."""

    model: Annotated[str | None, model_option("image_generation")] = None
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="The size, such as 768x512. Default: the model's.")
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="The number of denoising steps; more take longer. Default: the model's."),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The random seed; the same seed repeats the image. Default: random."),
    ] = None
    num_images: Annotated[int, typer.Option("--number", "-n", min=1, help="The number of images.")] = 1
    negative_prompt: Annotated[
        str | None, typer.Option("--negative", metavar="TEXT", help="What the image must not show.")
    ] = None
    guidance: Annotated[
        float | None, typer.Option(help="How closely to follow the prompt. Default: the model's.")
    ] = None
    strength: Annotated[
        float | None, typer.Option(help="How much of --image may change, from 0 to 1. Default: the model's.")
    ] = None


@with_options
def imagine(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the image shows.")],
    image_options: ImageOptions,
    job: JobOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A .png, .jpg or .webp file; several images get numbers. Default: a name from the prompt.",
        ),
    ] = None,
    image: Annotated[str | None, typer.Option(metavar="FILE", help="An image to start from.")] = None,
    mask: Annotated[
        str | None, typer.Option(metavar="FILE", help="Only the parts of --image that are white here change.")
    ] = None,
) -> None:
    """Generate images from text. Without --seed, every image differs.

    Examples:
      aitbc imagine 'a lighthouse in a storm'
      aitbc imagine 'a red fox' -n 4 --size 768x512 -o fox.png
      aitbc imagine 'the same in winter' --image fox-1.png --strength 0.6
    """
    body = {"prompt": prompt, **image_options.body, **format_of(output, _FORMATS, ".png, .jpg or .webp")}
    files: dict[str, Path] = {}
    for field, named in {"image_url": image, "mask_url": mask}.items():
        for item in find_inputs([named] if named else [], (), recursive=False):
            body |= item.address_in(field)
            files |= item.file_in(field)
    options = job.body(context)
    work = BatchWork(
        label=label_of(prompt),
        route="stable-diffusion/generate",
        body=body,
        options=options,
        delivery=_Images(_names(output, image_options.num_images, prompt)),
        files=files,
        receipt=job.receipt,
        # Without a seed, a repeated command means a further image and not the same one again.
        resumable=False,
    )
    perform(context, [work], job=job)


def _names(output: Path | None, number: int, prompt: str) -> list[Path]:
    if output is None:
        # The same prompt gives another image each time, so earlier ones stay.
        free = (path for path in numbered(Path(f"{name_of(prompt)}.png")) if not path.exists())
        return [next(free) for _ in range(number)]
    return [output] if number == 1 else [with_number(output, position) for position in range(1, number + 1)]


class _Images(OutputDelivery):
    """The images, each in its own file."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.targets = tuple(paths)

    async def after(self, answer: JobResults, writer: Writer) -> None:
        """See `OutputDelivery.after`."""
        images = answer.output_files()
        # Rather than writing the images that are there: names and images would not belong together.
        if len(images) != len(self.targets):
            raise NoSuchResult(
                f"The results of job {answer.job_id} have {len(images)} images instead of {len(self.targets)}."
            )
        for file, path in zip(images, self.targets, strict=True):
            await writer.fetch(file.artifact_id, path)
