"""The form of a job with the client's own Python program."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm

FORM = ServiceForm(
    first={
        "model.source": FormField(
            "Program",
            "A Python file with a function predict(input, **parameters), or a .zip or .tar.gz with several files.",
            accept=".py,.zip,.tar,.gz,.tgz",
        ),
        "model.entrypoint": FormField("File with predict", "Its path inside the archive, such as model.py."),
        "model.requirements": FormField(
            "Packages",
            "Installed from PyPI first, such as numpy or torch>=2; separated by commas.",
        ),
        "input.source": FormField(
            "Input file", "predict gets its path as input. Leave it out if your program needs none."
        ),
        "parameters": FormField(
            "Parameters", 'Passed to predict by name, as JSON: {"threshold": 0.5}.', empty="{}"
        ),
    },
    more={
        "Details": {
            "input.format": FormField(
                "Ending of the input's name",
                "For programs that look at it, such as jpeg.",
                empty="None",
            ),
            "input.type": FormField("Kind of input", "Always a file.", hidden=True),
            "model.deterministic": FormField(
                "Same result on every machine",
                "Turn this on if your program uses no clock and no random numbers, so that another machine can check it.",
            ),
        }
    },
)
