"""Reads inputs of services, `[[service, parameters], ...]` on stdin, and writes the reasons why this version refuses some, by number."""

from __future__ import annotations

import json
import sys

from pydantic import ValidationError

from runners.registry import installed

refused = {}
for number, (service, parameters) in enumerate(json.load(sys.stdin)):
    try:
        installed()[service].definition.input_model.model_validate(parameters)
    except ValidationError as error:
        refused[number] = str(error)
json.dump(refused, sys.stdout)
