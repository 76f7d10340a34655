"""The list of attempts, and the successful ones that are documented."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.escapes.model.model import ATTEMPTS as _ALL

ATTEMPTS = tuple(_ALL)
SANDBOXES: Mapping[str, Mapping[str, Any]] = {
    "bubblewrap": {"sandbox": "bubblewrap"},
    "landlock": {"sandbox": "landlock", "python_models_in_landlock": True},
}
PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "sandbox.md"

NAMED: Mapping[tuple[str, str], str] = {
    ("bubblewrap", "see_a_path_of_the_machine_in_mountinfo"): (
        "`/proc/self/mountinfo` shows, for each granted path, where it lies **in its file system**"
    ),
    ("landlock", "see_that_a_file_exists"): (
        "`stat`, `readlink` and `access` are not checked: whether a path exists, its size, owner, times"
    ),
}
"""By sandbox and attempt: the sentence of docs/explanation/sandbox.md that documents it."""

ABSENT: Mapping[str, str] = {
    "load_a_kernel": "this kernel cannot load another one",
    "load_a_module": "this kernel has no modules",
    "open_a_socket_to_the_kernels_ciphers": "this kernel offers no ciphers",
    "open_sysrq_trigger": "this kernel has no such trigger",
    "reach_the_machines_ports": "this kernel grants no access to I/O ports",
    "use_a_card_that_was_not_granted": "this machine has no card",
}
"""Attempts that are impossible on some kernels and machines, with the reason."""

INSIDE_ONLY: Mapping[str, str] = {
    "see_a_path_of_the_machine_in_mountinfo": "without a sandbox none of the machine's directories is mounted anywhere else",
}
"""Attempts that have no meaning without a sandbox, with the reason."""


def got_out(attempts: Mapping[str, Mapping[str, Any]], sandbox: str) -> dict[str, str]:
    """Return undocumented successful attempts with their evidence."""
    return {
        name: attempt["how"]
        for name, attempt in attempts.items()
        if attempt["out"] and (sandbox, name) not in NAMED
    }
