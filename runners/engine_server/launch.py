"""Runs an engine's server in a process that ends when its standard input closes, that is with the process that started it.

    python -I launch.py FILE_OR_MODULE ARGUMENT...

This file runs with the interpreter of the engine's environment and imports only the standard library.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading


def _end_with_parent() -> None:
    # The pipe closes with the parent, however that ends, and on every system.
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target, *sys.argv = sys.argv[1], *sys.argv[1:]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)
