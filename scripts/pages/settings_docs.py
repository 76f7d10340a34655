"""Writes what is said of the settings elsewhere than in the code: configs/agent.toml, configs/coordinator.toml, docs/reference/settings.md.

.venv/bin/python scripts/pages/settings_docs.py           writes them
.venv/bin/python scripts/pages/settings_docs.py --check   says whether they are what the code gives
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.settings import Settings
from agent.settings.description import Setting, describe, sections, written

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = ".venv/bin/python scripts/pages/settings_docs.py"
WIDTH: Final = 110
MINERS_ALONE: Final = frozenset({"models_dir", "cache_dir", "miner", "runners"})
"""Settings and sections that a coordinator without a miner does not read."""
_HEADS: Final = {
    "agent": (
        "Settings of an AITBC agent: a miner, and a coordinator too unless `miner.coordinator` names another one.",
        "`aitbc-agent start` reads this file from DATA_DIR/agent.toml, or from where `--config` says.",
    ),
    "coordinator": (
        "Settings of a coordinator without a miner: those of agent.toml that it reads.",
        "`aitbc-agent coordinator` reads this file from DATA_DIR/agent.toml, or from where `--config` says.",
    ),
}
_SHARED_HEAD: Final = (
    "Every setting stands here with its default, switched off: take away its # to change it. Environment variables",
    "(AITBC_MINER__SLOTS for slots in [miner]) and flags win over the file. `aitbc-agent config check FILE` says what is",
    "wrong with a file, `aitbc-agent config show --changed` what is set, and where. docs/reference/settings.md is the same as a table.",
    'Sizes are bytes or quantities ("8Gi", "512Mi"), money is text ("0.10"), durations are numbers of seconds.',
)


def main() -> int:
    """Returns the exit status."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):  # defaults are shown as they are without these
        os.environ.pop(name, None)
    settings = list(describe(Settings))
    needed = [setting for setting in settings if setting.key.partition(".")[0] not in MINERS_ALONE]
    pages = {
        ROOT / "configs" / "agent.toml": toml_file("agent", settings),
        ROOT / "configs" / "coordinator.toml": toml_file("coordinator", needed),
        ROOT / "docs" / "reference" / "settings.md": page(settings),
    }
    stale = [path for path, text in pages.items() if not path.is_file() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code gives; run: {COMMAND}")
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
    return 0


def toml_file(name: str, settings: list[Setting]) -> str:
    """A configuration file with these settings, each switched off."""
    lines = [*_HEADS[name], *_SHARED_HEAD, f"Made from the code by {COMMAND}."]
    return "\n".join([*(f"# {line}" for line in lines), *_sections(settings)]) + "\n"


def _sections(settings: list[Setting]) -> Iterator[str]:
    about = dict(sections(Settings))
    section = ""
    for setting in settings:
        if setting.section != section:
            section = setting.section
            yield ""
            yield ""
            yield from _comment(about[section])
            yield f"[{section}]"
        yield ""
        yield from _comment(f"{setting.sentence} {_form(setting)}")
        if setting.default is None:
            yield f"# Not set. Written like: {setting.name} = {setting.form.sample}"
        else:
            if not setting.default and setting.form.sample != written(setting.default) and _is_open(setting):
                yield f"# Written like: {setting.name} = {setting.form.sample}"
            yield f"#{setting.name} = {written(setting.default)}"


def _is_open(setting: Setting) -> bool:
    """Whether its empty default does not show how a value is written."""
    return setting.form.many or setting.form.types == (dict,)


def _form(setting: Setting) -> str:
    unit = setting.form.unit
    return f"({setting.form.words}{f'; {unit}' if unit else ''})"


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"


def page(settings: list[Setting]) -> str:
    """docs/reference/settings.md."""
    return "\n".join(_page(settings)) + "\n"


def _page(settings: list[Setting]) -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield f"<!-- Made from the code by {COMMAND}; do not edit. -->"
    yield ""
    yield "A setting comes from its default, from a TOML file (`DATA_DIR/agent.toml`, or the one that `--config` names), from an environment"
    yield "variable or from a flag; later ones win. The files `configs/agent.toml` and"
    yield "`configs/coordinator.toml` (what a coordinator alone reads) hold every setting, switched off, to be copied and changed."
    yield ""
    yield "<!-- run by tests/unit/cli/test_config.py -->"
    yield ""
    yield "```console"
    yield "$ aitbc-agent config check my.toml      # every fault with its line and what to write instead; exit code 1 if there is one"
    yield "$ aitbc-agent config show --changed     # what differs from the defaults, and where it comes from"
    yield "```"
    yield ""
    yield 'A size is a number of bytes or a quantity (`"512Mi"`, `"8Gi"`; `Ki`, `Mi`, `Gi`, `Ti` are powers of 1024). Money is text with at most 8 decimals'
    yield '(`"0.10"`), never a number, because binary fractions cannot hold it. A duration is a number of seconds. A rate is written'
    yield '`"600 per minute"` or `"1000 per 10 seconds"`. In an environment variable a list or table is JSON: `AITBC_MINER__MODELS_PINNED=\'["tiny.en"]\'`.'
    about = dict(sections(Settings))
    section = None
    for setting in settings:
        if setting.section != section:
            section = setting.section
            yield ""
            yield f"## {f'[{section}]' if section else 'Above all sections'}"
            yield ""
            if section:
                yield about[section]
                yield ""
            yield "| key | variable | type | unit | default | meaning |"
            yield "|---|---|---|---|---|---|"
        default = "not set" if setting.default is None else f"`{written(setting.default)}`"
        cells = (f"`{setting.key}`", f"`{setting.variable}`", setting.form.words, setting.form.unit, default)
        yield _row(*cells, setting.sentence)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
