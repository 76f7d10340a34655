"""Memory of the GPU and of the machine: limits, peaks, and the engines' errors when it runs out or the GPU fails.

torch is imported only if a GPU is used, and only inside functions: the coordinator imports runners without it.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from runners.api import Cancelled, Device, Fail, FailureCode, Model, Retry
from runners.causes import MAX_MESSAGE, Stage, cause_of, error_of

CONTEXT_BYTES = 512 * 2**20
"""GPU memory that CUDA's context and kernels take in each process in addition to torch's allocations, until it is measured; between 300 and
900 MiB, depending on driver and card."""


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
        if not _is_memory(error):
            raise
        raise Retry(
            "The model does not fit into the GPU's memory.", code=FailureCode.OUT_OF_MEMORY
        ) from error


@contextmanager
def loading_faults(model: Model, engine: str | None = None) -> Iterator[None]:
    """Turn the errors of a loader into `Retry`, except those of memory: see `memory_faults`.

    The code is GPU_UNSUPPORTED where no model would load, else MODEL_UNAVAILABLE.
    """
    try:
        yield
    except (MemoryError, Retry, Cancelled):
        raise
    except Exception as error:
        if _is_memory(error):
            raise
        failure = error_of(Stage.LOADING, str(error))
        if failure.code == FailureCode.GPU_UNSUPPORTED:
            raise failure from error
        # A damaged or foreign file makes loaders raise almost any exception.
        by_engine = f" by {engine}" if engine is not None else ""
        raise Retry(
            f"The model {model.name!r} could not be loaded{by_engine}: {type(error).__name__}: {error}"[
                :MAX_MESSAGE
            ],
            code=FailureCode.MODEL_UNAVAILABLE,
        ) from error


def engine_error(error: Exception, message: str) -> Fail | Retry:
    """Return what to report for an engine's exception, whose texts are in `runners.causes`.

    The code is ENGINE_DIED if it leaves the process unusable, GPU_UNSUPPORTED if the engine cannot run on this machine, and else
    RUNNER_CRASHED. Clients see `message`.
    """
    # Other kinds of exceptions may quote a client's words.
    code = cause_of(Stage.ANSWERING, str(error)).code if isinstance(error, RuntimeError) else None
    if code is FailureCode.GPU_UNSUPPORTED:
        return error_of(Stage.ANSWERING, str(error))
    died = code is FailureCode.ENGINE_DIED
    return Retry(message, code=FailureCode.ENGINE_DIED if died else FailureCode.RUNNER_CRASHED)


def _is_memory(error: BaseException) -> bool:
    return cause_of(Stage.LOADING, str(error)).code is FailureCode.OUT_OF_MEMORY


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
    # Otherwise a model that grows would take the memory that was promised to another child, which then fails.
    torch.cuda.set_per_process_memory_fraction(memory_fraction(vram, total))
    torch.cuda.reset_peak_memory_stats()


def memory_peak(device: Device) -> int:
    """Return the peak GPU memory of this process in bytes since `hold_budget`; 0 on a CPU."""
    if device.kind != "cuda":
        return 0
    import torch  # noqa: PLC0415 - see the module's docstring

    return int(torch.cuda.max_memory_reserved()) + _context_bytes()


def _context_bytes() -> int:
    """Return the GPU memory that this process takes in addition to torch's allocations; `CONTEXT_BYTES` if the driver does not report it."""
    import torch  # noqa: PLC0415 - see the module's docstring

    try:
        processes = torch.cuda.list_gpu_processes(0)
    except Exception:  # noqa: BLE001 - the driver's library may lack the function, or list no slice of a card
        return CONTEXT_BYTES
    # In a container, the driver may name processes by the ids that they have outside.
    used = re.search(rf"process +{os.getpid()} uses +([\d.]+) MB", processes)
    return (
        CONTEXT_BYTES if used is None else max(0, int(float(used[1]) * 2**20) - torch.cuda.memory_reserved(0))
    )


def release_memory(device: Device) -> None:
    """Free the GPU memory of unreferenced objects. Does nothing without torch."""
    # Models contain reference cycles, whose memory Python frees only here.
    gc.collect()
    if device.kind == "cuda":
        with suppress(ImportError):
            import torch  # noqa: PLC0415 - see the module's docstring

            torch.cuda.empty_cache()
