"""Compiled code where nothing may be loaded from /tmp, as in a container with `--tmpfs /tmp`: with PyTorch's real compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runners import c_compiler, code_cache

PROGRAM = "import torch; print(torch.compile(lambda x: x.sin() + 1)(torch.zeros(4)).tolist())"
NOEXEC = 'mount -t tmpfs -o noexec,mode=1777 tmpfs "$TMPDIR"; exec "$0" -c "$1"'

pytestmark = [
    pytest.mark.ship,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.skipif(
        shutil.which("g++") is None or c_compiler.lack(sys.executable) is not None,
        reason="there is no compiler",
    ),
]


@pytest.mark.parametrize("stored_in_cache", [False, True])
def test_compiled_code_is_loaded_although_tmp_is_noexec(tmp_path: Path, stored_in_cache: bool) -> None:
    """Without the cache it fails: this system does refuse to load from there."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    caches = code_cache.variables(tmp_path / "cache") if stored_in_cache else {}
    unset = code_cache.variables(tmp_path)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", NOEXEC, sys.executable, PROGRAM],
        env={name: value for name, value in os.environ.items() if name not in unset}
        | {"TMPDIR": str(temporary), **caches},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    if stored_in_cache:
        assert done.stdout == "[1.0, 1.0, 1.0, 1.0]\n", done.stderr
        assert list((tmp_path / "cache").rglob("*.so"))
    else:
        assert "failed to map segment from shared object" in done.stderr
