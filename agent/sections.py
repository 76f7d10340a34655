"""What all sections of the settings are made of, and how features and installed extensions add theirs.

An entry point in the group `aitbc.settings` has the name of a table, such as `payouts.evm`, and names the model of that table; one
like `artifacts.*` names a model of more settings in the table `artifacts`. The module of the model imports this module and
`agent.core` alone, since it is imported while the settings are declared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

HIDDEN: Final = "hidden"
"""`Field(json_schema_extra={HIDDEN: True})` marks a setting whose value is never shown."""
GROUP: Final = "aitbc.settings"
EXTENSIONS: Final = {
    "miner.ray": "ray",
    "payouts.evm": "payouts-evm",
    "payouts.lightning": "payouts-lightning",
}
"""The tables of this project's extensions, with the extras of `aitbc-agent` that install them."""


def _not_empty(value: object) -> object:
    """Refuse an empty path, which would be the current directory."""
    if isinstance(value, str) and not value.strip():
        raise ValueError(
            "must not be empty. Remove it to use the default, or write . for the current directory"
        )
    return value


HomePath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(Path.expanduser)]
"""A path that may begin with `~`, the user's home directory."""
Currency = Annotated[str, Field(pattern=r"^[A-Za-z0-9.]{1,12}$", examples=["EUR"])]


class WordedText(str):
    """A text of a certain form. The pages of the settings describe it in `words`, and show a `sample` in TOML."""

    __slots__ = ()
    words: ClassVar[str]
    sample: ClassVar[str]


class Section(BaseModel, defer_build=True):
    """A frozen model; an unknown key is an error. The docstring of a field documents it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SectionType = TypeVar("SectionType", bound=Section)


def extensible(table: str) -> Callable[[type[SectionType]], type[SectionType]]:
    """Return a decorator that adds what features and extensions declare: settings in `table`, and tables right below it.

    The table of all settings has no name.
    """

    def extend(declared: type[SectionType]) -> type[SectionType]:
        prefix = f"{table}." if table else ""
        points = {
            name.removeprefix(prefix): point for name, point in _points().items() if name.startswith(prefix)
        }
        more = [points.pop("*").load()] if "*" in points else []
        models = {name: point.load() for name, point in sorted(points.items()) if "." not in name}
        if not models and not more:
            return declared
        fields: dict[str, Any] = {name: (model, model()) for name, model in models.items()}
        # With the name of the declared one it can be pickled, and its source is found, which documents the fields.
        return create_model(
            declared.__name__,
            __base__=(*more, declared),
            __module__=declared.__module__,
            __doc__=declared.__doc__,
            **fields,
        )

    return extend


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def section_of(settings: Section, model: type[SectionType]) -> SectionType:
    """Return the section below `settings` that a feature or an extension has declared with this model; the defaults if there is none."""
    return next((value for _, value in settings if isinstance(value, model)), None) or model()
