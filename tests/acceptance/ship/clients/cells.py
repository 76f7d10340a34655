"""A client's cells of the matrix: each function is a feature that its users need, with the client's own package.

`python NAME_cells.py URL KEY MODEL FILES` prints a JSON object: by feature null, or the error that came instead. Whether an error is right is
for the test to decide.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

URL, KEY, MODEL = sys.argv[1:4]
SPEECH = Path(sys.argv[4]) / "speech.wav"
PICTURE = Path(sys.argv[4]) / "picture.png"
QUESTION = "Name the capital of France."
MESSAGES = [{"role": "user", "content": QUESTION}]
COUNTRY = {"type": "object", "properties": {"country": {"type": "string"}}, "required": ["country"]}
TOOL = {
    "type": "function",
    "function": {
        "name": "capital_of",
        "description": "The capital of a country.",
        "parameters": COUNTRY,
    },
}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}

_cells: dict[str, Callable[[], object]] = {}


def cell(function: Callable[[], object]) -> Callable[[], object]:
    """Register a feature under the function's name."""
    _cells[function.__name__.strip("_")] = function
    return function


def error_of(kind: type[Exception], call: Callable[[], object]) -> Any:
    """Return the error of this kind that a call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("no error was raised")


def run() -> None:
    """Run all cells, and print what came of each."""
    outcomes = {}
    for name, function in _cells.items():
        try:
            function()
            outcomes[name] = None
        except Exception as error:  # noqa: BLE001 - every error is an outcome
            outcomes[name] = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps(outcomes) + "\n")
