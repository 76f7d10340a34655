"""How an engine says that memory ran out, in the words of a miner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runners._base import Retry


@contextmanager
def memory_faults() -> Iterator[None]:
    """Turns the engines' ways of saying that memory ran out into `Retry` with OUT_OF_MEMORY."""
    try:
        yield
    except MemoryError as error:
        raise Retry("The model does not fit into memory.", code="OUT_OF_MEMORY") from error
    except RuntimeError as error:  # torch.OutOfMemoryError and CTranslate2's are kinds of it
        if "out of memory" not in str(error).lower():
            raise
        raise Retry("The model does not fit into the GPU's memory.", code="OUT_OF_MEMORY") from error
