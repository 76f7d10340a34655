"""Generates configs/seccomp.json from the allowed system calls in runners/sandbox/seccomp.py."""

from __future__ import annotations

import json
import sys

from generated import ROOT, publish
from runners.sandbox.seccomp import container_profile

if __name__ == "__main__":
    sys.exit(publish({ROOT / "configs" / "seccomp.json": json.dumps(container_profile(), indent=2) + "\n"}))
