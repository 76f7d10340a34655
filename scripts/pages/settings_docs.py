"""Generates configs/agent.toml, configs/coordinator.toml and docs/reference/settings.md from the declared settings."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from typing import Final

from agent.configuring.description import Setting, describe, sections, sentences, written
from agent.sections import EXTENSIONS
from agent.settings import Settings
from generated import NOTE, REFERENCE, ROOT, linked, publish

WIDTH: Final = 110
MINERS_ALONE: Final = frozenset({"models_dir", "cache_dir", "miner", "runners", "engines"})
"""Settings and sections that a coordinator without a miner ignores."""
_HEADS: Final = {
    "agent": (
        "Settings of an AITBC agent: a miner, and a coordinator too unless `miner.coordinator` names another one.",
        "`aitbc-agent start` reads this file from DATA_DIR/agent.toml, or from the path of `--config`.",
    ),
    "coordinator": (
        "Settings of a coordinator without a miner: those of agent.toml that it reads.",
        "`aitbc-agent coordinator` reads this file from DATA_DIR/agent.toml, or from the path of `--config`.",
    ),
}
_SHARED_HEAD: Final = (
    "Every setting is listed with its default and commented out; remove the # to change it. Environment variables",
    "(AITBC_MINER__SLOTS for slots in [miner]) and flags take precedence. `aitbc-agent config check FILE` reports the errors",
    "of a file, `aitbc-agent config show --changed` the settings that differ. docs/reference/settings.md has the same as tables.",
    'Sizes are bytes or quantities ("8Gi", "512Mi"), money is text ("0.10"), durations are numbers of seconds.',
)


def main() -> int:
    """Return the exit status."""
    settings = list(describe(Settings))
    # A shipped file must not name sections that are not everywhere.
    shipped = [setting for setting in settings if setting.section not in EXTENSIONS]
    needed = [setting for setting in shipped if setting.key.partition(".")[0] not in MINERS_ALONE]
    files = {
        ROOT / "configs" / "agent.toml": toml_file("agent", shipped),
        ROOT / "configs" / "coordinator.toml": toml_file("coordinator", needed),
        REFERENCE / "settings.md": linked("\n".join(_page(settings)) + "\n"),
    }
    return publish(files)


def toml_file(name: str, settings: list[Setting]) -> str:
    """Return a configuration file with these settings commented out."""
    lines = [*_HEADS[name], *_SHARED_HEAD, "Generated from the code by `make docs`."]
    return "\n".join([*(f"# {line}" for line in lines), *section_lines(settings)]) + "\n"


def section_lines(settings: list[Setting]) -> Iterator[str]:
    """Yield the lines of a settings file in which these settings are commented out, below their sections and with their meanings."""
    about, meanings = dict(sections(Settings)), dict(sentences(Settings))
    section = ""
    for setting in settings:
        if setting.section != section:
            section = setting.section
            yield ""
            yield ""
            yield from _comment(about[section])
            yield f"[{section}]"
        yield ""
        yield from _comment(f"{meanings[setting.key]} {_form(setting)}")
        if setting.default is None:
            yield f"# Not set. Written like: {setting.name} = {setting.form.sample}"
        else:
            if not setting.default and setting.form.sample != written(setting.default) and _is_open(setting):
                yield f"# Written like: {setting.name} = {setting.form.sample}"
            yield f"#{setting.name} = {written(setting.default)}"


def _is_open(setting: Setting) -> bool:
    """Return whether the empty default does not show how a value is written."""
    return setting.form.is_list or setting.form.types == (dict,)


def _form(setting: Setting) -> str:
    unit = setting.form.unit
    return f"({setting.form.words}{f'; {unit}' if unit else ''})"


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"


def _page(settings: list[Setting]) -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield NOTE
    yield ""
    yield "A setting comes from its default, from a TOML file (`DATA_DIR/agent.toml`, or the path of `--config`), from an environment variable or from a"
    yield "flag; later sources take precedence. `configs/agent.toml` and `configs/coordinator.toml` (for a coordinator without a miner) list every setting,"
    yield "but those of extensions, commented out, as a starting point. An unknown key is an error that names the nearest one. An empty variable counts as not set."
    yield ""
    yield "<!-- run by tests/unit/cli/test_config.py -->"
    yield ""
    yield "```console"
    yield "$ aitbc-agent config check my.toml      # reports every error with its line and a correction; exit code 1 if there is one"
    yield "$ aitbc-agent config show --changed     # lists the settings that differ from their defaults, and their sources"
    yield "```"
    yield ""
    yield 'A size is a number of bytes or a quantity (`"512Mi"`, `"8Gi"`; `Ki`, `Mi`, `Gi`, `Ti` are powers of 1024). Money is text with at most 8 decimals'
    yield '(`"0.10"`), never a number, because binary fractions are inexact. A duration is a number of seconds. A rate is written'
    yield '`"600 per minute"` or `"1000 per 10 seconds"`. In an environment variable a list or table is JSON: `AITBC_MINER__MODELS_PINNED=\'["tiny.en"]\'`.'
    about, meanings = dict(sections(Settings)), dict(sentences(Settings))
    section = None
    for setting in settings:
        if setting.section != section:
            section = setting.section
            yield ""
            yield f"## {f'[{section}]' if section else 'Outside any section'}"
            yield ""
            if section:
                yield about[section]
                yield ""
            yield "| key, variable | type | default | meaning |"
            yield "|---|---|---|---|"
        default = "not set" if setting.default is None else f"`{written(setting.default)}`"
        names = f"`{setting.key}`<br>`{setting.variable}`"
        yield _row(names, _form(setting).strip("()"), default, meanings[setting.key])


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
