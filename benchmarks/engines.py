"""Our whole path in front of an engine, compared with the engine alone on the same work in the same run.

    .venv/bin/python benchmarks/engines.py [whisper llm vllm pictures video rendering] [--rounds 3] [--json]

Ours is the runner's real child process, started as a miner starts it and used over its socket, with the sandboxes. Both are measured in turn, so that they run under the same conditions; the ratio is the median of those of all rounds. The exit status is 1
if a ratio is below 0.97.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# Idle threads of one side would otherwise take the processor from the other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import structlog
from measuring import llm, media, pictures, vllm, whisper
from measuring.row import Row

LIMIT = 0.97

ENGINES: dict[str, Callable[[Path, int], list[Row]]] = {
    "llm": llm.measure,
    "vllm": vllm.measure,
    "whisper": whisper.measure,
    "pictures": pictures.measure,
    "video": media.video,
    "rendering": media.rendering,
}
"""By name: a function that gets an empty directory and the number of rounds."""


def main() -> None:
    """Measure and print a table; with --json one JSON array."""
    parser = argparse.ArgumentParser(description="Measure our path in front of each engine.")
    parser.add_argument("engine", nargs="*", choices=[[], *ENGINES], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows: list[Row] = []
    for name in options.engine or ENGINES:
        with tempfile.TemporaryDirectory() as folder:
            rows += ENGINES[name](Path(folder), options.rounds)
    if options.json:
        print(json.dumps([row.shown() for row in rows]))
    else:
        print(f"{'':44} {'ours':>8} {'alone':>8} {'ratio':>6}")
        for row in map(Row.shown, rows):
            print(
                f"{row['name']:44} {row['ours']:8.1f} {row['alone']:8.1f} {row['ratio']:6.2f}  {row['unit']}"
            )
    slow = [row.name for row in rows if row.required and row.ratio < LIMIT]
    if slow:
        sys.exit(f"Below {LIMIT} of the engine alone: {', '.join(slow)}.")


if __name__ == "__main__":
    main()
