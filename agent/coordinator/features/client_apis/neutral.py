"""Parameters of OpenAI's API that have no effect here: only their neutral values are accepted."""

from __future__ import annotations

import json
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Only:
    """Marks a field that may be omitted, null, or one of `values`. Other values would be ignored, so they are refused."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": [*self.values, None]}

    def _check(self, value: Any) -> Any:
        # True equals 1 in Python, but not in JSON.
        alike = [choice for choice in self.values if isinstance(choice, bool) == isinstance(value, bool)]
        if value is None or value in alike:
            return value
        choices = " or ".join(json.dumps(choice) for choice in self.values)
        raise ValueError(
            f"only {choices} is supported" if choices else "this parameter is not supported; remove it"
        )
