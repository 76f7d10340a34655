"""What all sections of the settings are made of, and how features and installed extensions add theirs.

`SETTINGS` in the `settings.py` of a feature has the model of a table by its name, such as `payouts`; a name like `artifacts.*` has a model of
more settings in the table `artifacts`. Extensions declare the same as entry points in the group `aitbc.settings`. The module of the model
imports this module and `agent.core` alone, since it is imported while the settings are declared.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from agent import features

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
        models = _declared(f"{table}." if table else "")
        more: list[Any] = [models.pop("*")] if "*" in models else []
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


def _declared(prefix: str) -> dict[str, type[Section]]:
    """Return the models of the tables right below one, by their names in it."""
    tables: dict[str, type[Section] | EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
    for module in features.modules("settings"):
        # A module whose own table is being extended has not declared it yet.
        tables |= getattr(module, "SETTINGS", {})
    below = {name.removeprefix(prefix): table for name, table in tables.items() if name.startswith(prefix)}
    return {
        name: table.load() if isinstance(table, EntryPoint) else table
        for name, table in sorted(below.items())
        if "." not in name
    }


def section_of(settings: Section, model: type[SectionType]) -> SectionType:
    """Return the section below `settings` that a feature or an extension has declared with this model; the defaults if there is none."""
    return next((value for _, value in settings if isinstance(value, model)), None) or model()
