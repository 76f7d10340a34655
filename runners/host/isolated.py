"""Runs the host with an interpreter that has an engine, but not this project: `python -I isolated.py --module ... --runner ...`.

Only the named modules become importable, from their own files. The other packages of the agent's environment stay
invisible, since their versions are not those that the engine needs. Multiprocessing imports this file again in the processes that
an engine starts, so that they find the modules too.

`--module NAME=FILE`  a module, or the `__init__.py` of a package; repeatable
`--runner NAME:CLASS` the runner's class
`--check`             run the program that standard input contains, an engine's check
`--probe`             print the result of the runner's probe as JSON, for the tools that standard input describes
"""

import argparse
import fcntl
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_IN_USE = "in-use"
"""The file of an environment that each of its processes locks."""


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--module", action="append", required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--probe", action="store_true")
    return parser.parse_known_args()


def _make_importable(name: str, file: str) -> None:
    path = Path(file)
    folders = [str(path.parent)] if path.name == "__init__.py" else None
    spec = spec_from_file_location(name, path, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise SystemExit(f"The module {name} cannot be imported from {file}.")
    # Registered before it runs, as Python itself does: the modules of a package import each other.
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


def _use_environment() -> None:
    """Lock this environment against being deleted, until this process ends."""
    # Never closed: the lock lasts as long as the process.
    descriptor = os.open(Path(sys.prefix, _IN_USE), os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def _probe(runner: str) -> None:
    from pydantic import TypeAdapter  # noqa: PLC0415 - visible in the engine's environment, but only there

    from runners.api import Probe, TimedOut, Tools  # noqa: PLC0415 - importable from now on
    from runners.registry import load  # noqa: PLC0415 - as above

    result = os.dup(1)
    os.dup2(2, 1)  # what packages print is not the result
    tools = TypeAdapter(Tools).validate_json(sys.stdin.buffer.read())
    try:
        probe = load(runner).probe(tools)
    except TimedOut as error:
        probe = Probe(available=False, reasons=(str(error),), undecided=True)
    document = TypeAdapter(Probe).dump_json(probe)
    with os.fdopen(result, "wb") as file:
        file.write(document)


_options, _words = _arguments()
for _name, _, _file in (module.partition("=") for module in _options.module):
    if _name not in sys.modules:
        _make_importable(_name, _file)

if __name__ == "__main__":
    _use_environment()
    if _options.check:
        exec(compile(sys.stdin.buffer.read(), "check", "exec"), {"__name__": "__main__"})  # noqa: S102 - of the catalogue of engines
    elif _options.probe:
        _probe(_words[_words.index("--runner") + 1])
    else:
        from runners.host.process import main

        main(_words)
