"""What all sections of the settings are made of, and how features and installed extensions add theirs.

`SETTINGS` in the `settings.py` of a feature has the model of a table by its name, such as `payouts`; a name like `artifacts.*` has a model of
more settings in the table `artifacts`. Several features may add to one table. Extensions declare the same as entry points in the group `aitbc.settings`. The module of the model
imports this module and `agent.core` alone, since it is imported while the settings are declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from operator import itemgetter
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
    """A text of a certain form. The pages of the settings describe it in `words` with its `unit`, and show a `sample` in TOML."""

    __slots__ = ()
    words: ClassVar[str]
    sample: ClassVar[str]
    unit: ClassVar[str] = ""

    @classmethod
    def similar(cls, value: Any) -> str | None:  # noqa: ARG003 - for subclasses that can guess
        """Return the text that an invalid value most likely stands for, or None."""
        return None


class Section(BaseModel, defer_build=True):
    """A frozen model; an unknown key is an error. The docstring of a field documents it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SectionType = TypeVar("SectionType", bound=Section)


def extensible(table: str) -> Callable[[type[SectionType]], type[SectionType]]:
    """Return a decorator that adds what features and extensions declare: settings in `table`, and tables right below it.

    The table of all settings has no name.
    """

    def extend(declared: type[SectionType]) -> type[SectionType]:
        models = list(_declared(f"{table}." if table else ""))
        if not models:
            return declared
        more: list[Any] = [model for name, model in models if name == "*"]
        fields: dict[str, Any] = {name: (model, model()) for name, model in models if name != "*"}
        # With the name of the declared one it can be pickled, and its source is found, which documents the fields.
        return create_model(
            declared.__name__,
            # The fields of the last base come first.
            __base__=(*reversed(more), declared),
            __module__=declared.__module__,
            __doc__=declared.__doc__,
            **fields,
        )

    return extend


@cache
def _extensions() -> EntryPoints:
    """Return what extensions declare. To read the metadata of all installed packages takes longer than all else here, so it is done once."""
    return entry_points(group=GROUP)


def _declared(prefix: str) -> Iterator[tuple[str, type[Section]]]:
    """Yield the models of the tables right below one, with their names in it."""
    tables: list[tuple[str, type[Section] | EntryPoint]] = [(point.name, point) for point in _extensions()]
    for module in features.modules("settings"):
        # A module whose own table is being extended has not declared it yet.
        tables += getattr(module, "SETTINGS", {}).items()
    for key, table in sorted(tables, key=itemgetter(0)):
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and "." not in name:
            yield name, table.load() if isinstance(table, EntryPoint) else table


_FIELDS: Final[dict[tuple[type[Section], type[Section]], str]] = {}


def section_of(settings: Section, model: type[SectionType]) -> SectionType:
    """Return what a feature or an extension has declared with this model.

    That is a section below `settings`, or `settings` themselves if they have its fields; the defaults if there is neither.
    """
    if isinstance(settings, model):
        return settings
    # Each accepted result asks, so the field of these settings that has the section is stored.
    name = _FIELDS.get((type(settings), model))
    if name is None:
        name = next((field for field, value in settings if isinstance(value, model)), None)
        if name is None:
            return model()
        _FIELDS[type(settings), model] = name
    section: SectionType = getattr(settings, name)
    return section
