"""Memory of the GPU and of the machine: limits, peaks, and the engines' errors when it runs out or the GPU fails.

torch is imported only if a GPU is used, and only inside functions: the coordinator imports runners without it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from runners.api import Cancelled, Device, FailureCode, Model, Retry

CONTEXT_BYTES = 512 * 2**20
"""GPU memory that CUDA's context and kernels take in each process in addition to torch's allocations; between 300 and 500 MiB, depending
on driver and card."""


@contextmanager
def memory_faults() -> Iterator[None]:
    """Turn the engines' out-of-memory errors into `Retry` with OUT_OF_MEMORY."""
    try:
        yield
    except MemoryError as error:
        raise Retry(
            "The model does not fit into the machine's memory.", code=FailureCode.OUT_OF_MEMORY
        ) from error
    except RuntimeError as error:  # torch.OutOfMemoryError and CTranslate2's are kinds of it
        if "out of memory" not in str(error).lower():
            raise
        raise Retry(
            "The model does not fit into the GPU's memory.", code=FailureCode.OUT_OF_MEMORY
        ) from error


@contextmanager
def loading_faults(model: Model) -> Iterator[None]:
    """Turn the errors of a loader into `Retry` with MODEL_UNAVAILABLE, except those of memory: see `memory_faults`."""
    try:
        yield
    except (MemoryError, Retry, Cancelled):
        raise
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise
        # A damaged or foreign file makes loaders raise almost any exception.
        raise Retry(
            f"The model {model.name!r} could not be loaded: {type(error).__name__}: {error}"[:500],
            code=FailureCode.MODEL_UNAVAILABLE,
        ) from error


def beyond_repair(error: BaseException) -> bool:
    """Return whether an engine's error leaves its process unusable.

    After an illegal memory access or a failed assertion of a kernel, every later call of CUDA in the process fails. The
    texts are those of torch, CTranslate2 and the CUDA libraries; a failure that would have passed costs one more load.
    """
    text = str(error).lower()
    # Other kinds of errors may quote a client's words.
    if not isinstance(error, RuntimeError) or "out of memory" in text:
        return False
    return any(words in text for words in _DEAD)


_DEAD = (
    "cuda error",
    "cuda failed with error",
    "cublas_status_",
    "cublas failed",
    "cudnn_status_",
    "device-side assert",
)


def memory_fraction(vram: int | None, total: int) -> float:
    """Return the share of a card's `total` bytes that torch may allocate in a process limited to `vram` bytes."""
    if vram is None or total <= 0:
        return 1.0
    return min(1.0, max(0.0, (vram - CONTEXT_BYTES) / total))


def hold_budget(device: Device, vram: int | None) -> None:
    """Limit torch to `vram` bytes and restart the measurement of its peak."""
    if device.kind != "cuda":
        return
    import torch  # noqa: PLC0415 - see the module's docstring

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(memory_fraction(vram, total))
    torch.cuda.reset_peak_memory_stats()


def memory_peak(device: Device) -> int:
    """Return the peak GPU memory of this process in bytes since `hold_budget`; 0 on a CPU."""
    if device.kind != "cuda":
        return 0
    import torch  # noqa: PLC0415 - see the module's docstring

    return int(torch.cuda.max_memory_reserved()) + CONTEXT_BYTES


def release_memory(device: Device) -> None:
    """Free the GPU memory of unreferenced objects. Does nothing without torch."""
    gc.collect()
    if device.kind == "cuda":
        with suppress(ImportError):
            import torch  # noqa: PLC0415 - see the module's docstring

            torch.cuda.empty_cache()
