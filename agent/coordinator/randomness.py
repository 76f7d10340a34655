"""Random bytes from the operating system, a few thousand at a time: one system call for each id would cost more than everything else about the id."""

from __future__ import annotations

import secrets
import threading
from typing import Final

BLOCK: Final = 4096


class _RandomSource:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._block = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        with self._lock:
            # What is left of the block is dropped: using it would save nothing and split a value over two blocks.
            if self._used + count > len(self._block):
                self._block, self._used = secrets.token_bytes(max(BLOCK, count)), 0
            result = self._block[self._used : self._used + count]
            self._used += count
            return result


random_bytes: Final = _RandomSource().take
"""Return so many random bytes, which were returned to nobody else."""
