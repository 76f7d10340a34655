"""Makes nested values of environment variables, with pydantic-settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource


def nested(model: type[BaseModel], variables: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Return the values of variables, whose names are lower-case and begin with a prefix, as the fields of a model and its sections."""
    # The source reads only the declarations of the fields, which all models have.
    source = _VariablesSource(cast("type[BaseSettings]", model), env_prefix=prefix, env_nested_delimiter="__")
    source.env_vars = variables
    return source()


class _VariablesSource(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decode JSON. Other text, such as a rate's, is left to the validation of the model."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value
