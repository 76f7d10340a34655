"""A program that tests one card through the driver alone (libcuda), inside the sandbox in which jobs use it.

It needs only the standard library, since the sandbox gives it Python without packages. The argument is JSON: `steps` in their order,
and how many seconds `memory` and `load` may take. Each line of output is a JSON object with the `step` and its results. An error of
the driver ends the program with a line whose `step` is `error`.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

BLOCK: Final = 256 * 2**20
"""Bytes of the card's memory that get one pattern."""
PINNED: Final = 64 * 2**20
"""Bytes of main memory through which the card's memory is read."""
RESERVE: Final = 256 * 2**20
"""Bytes of the card's memory that stay free."""
PATTERNS: Final = (0x55555555, 0xAAAAAAAA)
"""Each bit is once 0 and once 1."""
SPREAD: Final = 0x9E3779B1
"""Gives each block a pattern of its own, so that a block that shows another one's content is noticed."""
COPY_SECONDS: Final = 1.0
LAUNCH_SECONDS: Final = 0.1
"""How long one launch computes. Cards that draw a screen end programs that compute for seconds without a pause."""
READ_SECONDS: Final = 1.0
DATA: Final = 256 * 2**20
"""Bytes that the load reads: more than any card's cache."""
CHAINS: Final = 8
THREADS: Final = 256
BLOCKS: Final = 8
"""Blocks of threads for each multiprocessor."""
WARM_UP: Final = 0.2
"""Share of the load's time after which its speed counts: clocks rise first."""
ATTRIBUTES: Final = {"processors": 16, "major": 75, "minor": 76}
ENTRY: Final = b"load"

libc: Final = ctypes.CDLL(None)
libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class DriverError(Exception):
    """A call of the driver failed."""

    def __init__(self, call: str, code: int, words: str) -> None:
        super().__init__(call)
        self.call, self.code, self.words = call, code, words


def report(step: str, **values: Any) -> None:
    """Print the results of a step."""
    print(json.dumps({"step": step, **values}), flush=True)  # noqa: T201 - the parent reads it


class Card:
    """The first card that CUDA shows, with a context. Raises `OSError` without libcuda, and `DriverError`."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver."""
        code = getattr(self._library, name)(*arguments)
        if code:
            words = ctypes.c_char_p()
            self._library.cuGetErrorString(code, ctypes.byref(words))
            raise DriverError(name, code, (words.value or b"unknown error").decode(errors="replace"))

    def facts(self) -> dict[str, Any]:
        """Return what the driver says about itself and about the card."""
        version, count = ctypes.c_int(), ctypes.c_int()
        name = ctypes.create_string_buffer(256)
        self.call("cuDriverGetVersion", ctypes.byref(version))
        self.call("cuDeviceGetCount", ctypes.byref(count))
        self.call("cuDeviceGetName", name, len(name), self._device)
        free, total = self.memory()
        return {
            "name": name.value.decode(errors="replace"),
            "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
            "count": count.value,
            "capability": f"{self.attribute('major')}.{self.attribute('minor')}",
            "free": free,
            "total": total,
        }

    def attribute(self, name: str) -> int:
        """Return one of the `ATTRIBUTES`."""
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), ATTRIBUTES[name], self._device)
        return value.value

    def memory(self) -> tuple[int, int]:
        """Return the free and the total bytes of the card's memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def allocate(self, size: int) -> ctypes.c_uint64:
        """Return the address of so many bytes of the card's memory."""
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address

    def free(self, address: ctypes.c_uint64) -> None:
        """Give memory of the card back."""
        self.call("cuMemFree_v2", address)

    def pinned(self, size: int) -> ctypes.c_void_p:
        """Return the address of so many bytes of main memory, which the card reads and writes itself."""
        address = ctypes.c_void_p()
        self.call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), 0)
        return address

    def fill(self, address: ctypes.c_uint64, word: int, size: int) -> None:
        """Fill memory of the card with a word of 32 bits."""
        self.call("cuMemsetD32_v2", address, ctypes.c_uint(word), ctypes.c_size_t(size // 4))

    def read(self, address: int, host: ctypes.c_void_p, size: int) -> None:
        """Copy from the card's memory to main memory."""
        self.call("cuMemcpyDtoH_v2", host, ctypes.c_uint64(address), ctypes.c_size_t(size))

    def write(self, address: int, host: ctypes.c_void_p, size: int) -> None:
        """Copy from main memory to the card's memory."""
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), host, ctypes.c_size_t(size))

    def wait(self) -> None:
        """Wait until the card has done everything."""
        self.call("cuCtxSynchronize")


def bus(card: Card) -> dict[str, Any]:
    """Return the bytes per second to the card (`upload`) and from it (`download`)."""
    size = min(PINNED, card.memory()[0] // 4)
    host, address = card.pinned(size), card.allocate(size)
    speeds: dict[str, float] = {}
    for name, copy in (("upload", card.write), ("download", card.read)):
        copy(address.value, host, size)  # the first one also wakes the link up
        began, count = time.monotonic(), 0
        while time.monotonic() - began < COPY_SECONDS:
            copy(address.value, host, size)
            count += 1
        speeds[name] = size * count / (time.monotonic() - began)
    card.free(address)
    return speeds


def memory(card: Card, seconds: float) -> dict[str, Any]:
    """Write patterns to all free memory, read them back, and return how much was `checked` and what was `wrong`.

    Ends early, and is then not `complete`, when the time is over.
    """
    began = time.monotonic()
    host = card.pinned(PINNED)
    blocks = list(_blocks(card))
    wrong: list[dict[str, Any]] = []
    checked = []
    for turn, pattern in enumerate(PATTERNS, start=1):
        words = [(pattern ^ number * SPREAD) & 0xFFFFFFFF for number in range(len(blocks))]
        for (address, size), word in zip(blocks, words, strict=True):
            card.fill(ctypes.c_uint64(address), word, size)
        card.wait()
        checked.append(0)
        for address, size, word in _parts(blocks, words):
            # Each pattern has its share of the time, so that what was checked was checked with all of them.
            if time.monotonic() - began > seconds * turn / len(PATTERNS):
                break
            expected = struct.pack("<I", word) * (size // 4)
            card.read(address, host, size)
            if libc.memcmp(host, expected, size) != 0:
                wrong.append({"pattern": f"{word:08x}", **_difference(host, expected, size)})
            checked[-1] += size
    for address, _ in blocks:
        card.free(ctypes.c_uint64(address))
    allocated = sum(size for _, size in blocks)
    return {
        "allocated": allocated,
        "checked": min(checked),
        "complete": min(checked) == allocated,
        "wrong": len(wrong),
        "examples": wrong[:3],
    }


def _blocks(card: Card) -> Iterator[tuple[int, int]]:
    """Allocate the free memory. Yields the addresses and sizes of its blocks."""
    free = card.memory()[0] - RESERVE
    for size in (BLOCK, 2**20):
        while free >= size:
            try:
                address = card.allocate(size)
            except DriverError:  # the driver needs some itself
                break
            yield address.value, size
            free -= size


def _parts(blocks: list[tuple[int, int]], words: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield the addresses and sizes of parts that fit into the pinned memory, and the word that each is filled with."""
    for (address, size), word in zip(blocks, words, strict=True):
        for start in range(0, size, PINNED):
            yield address + start, min(PINNED, size - start), word


def _difference(host: ctypes.c_void_p, expected: bytes, size: int) -> dict[str, Any]:
    """Return how many bits of this part differ, and in which of its bytes first."""
    actual = ctypes.string_at(host, size)
    bits, first = 0, None
    for start in range(0, size, 4096):
        end = min(start + 4096, size)
        if actual[start:end] != expected[start:end]:
            difference = int.from_bytes(actual[start:end], "little") ^ int.from_bytes(
                expected[start:end], "little"
            )
            bits += difference.bit_count()
            if first is None:
                first = start + ((difference & -difference).bit_length() - 1) // 8
    return {"bits": bits, "first": first}


def load(card: Card, seconds: float) -> dict[str, Any]:
    """Compute on the whole card, and read its memory. Return whether all results were the same, and the speed in launches per second.

    `first` is the speed once the clocks have risen, `last` that at the end.
    """
    threads = card.attribute("processors") * BLOCKS * THREADS
    size = DATA
    while size > card.memory()[0] // 4:
        size //= 2
    data, output = card.allocate(size), card.allocate(4 * threads)
    card.fill(data, PATTERNS[0], size)
    host, reference = card.pinned(4 * threads), None
    launch = _kernel(card, output, data, size // 4 - 1, threads)
    rounds = 64
    while (elapsed := _timed(card, launch, rounds)) < LAUNCH_SECONDS / 2 and rounds < 2**24:
        rounds = min(2**24, int(rounds * min(8.0, LAUNCH_SECONDS / max(elapsed, 1e-4))))
    speeds: list[tuple[float, float]] = []
    wrong, began = 0, time.monotonic()
    read_at = began
    while (now := time.monotonic()) - began < seconds or reference is None:
        speeds.append((now - began, rounds / _timed(card, launch, rounds)))
        if reference is None or time.monotonic() - read_at > READ_SECONDS:
            card.read(output.value, host, 4 * threads)
            result = ctypes.string_at(host, 4 * threads)
            reference = reference or result
            wrong += result != reference
            read_at = time.monotonic()
            report("loading", seconds=round(read_at - began, 1))
    counted = [speed for at, speed in speeds if at >= WARM_UP * seconds] or [speed for _, speed in speeds]
    part = max(1, len(counted) // 4)
    return {
        "seconds": time.monotonic() - began,
        "launches": len(speeds),
        "wrong": wrong,
        "first": sum(counted[:part]) / part,
        "last": sum(counted[-part:]) / part,
    }


def _kernel(
    card: Card, output: ctypes.c_uint64, data: ctypes.c_uint64, mask: int, threads: int
) -> Callable[[int], None]:
    """Return a function that launches the load with so many rounds."""
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    card.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(program().encode()))
    card.call("cuModuleGetFunction", ctypes.byref(function), module, ctypes.c_char_p(ENTRY))

    def launch(rounds: int) -> None:
        values = (output, data, ctypes.c_uint(mask), ctypes.c_uint(rounds))
        pointers = (ctypes.c_void_p * len(values))(
            *(ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in values)
        )
        grid = (threads // THREADS, 1, 1, THREADS, 1, 1)
        card.call(
            "cuLaunchKernel", function, *(ctypes.c_uint(side) for side in grid), 0, None, pointers, None
        )

    return launch


def _timed(card: Card, launch: Callable[[int], None], rounds: int) -> float:
    began = time.monotonic()
    launch(rounds)
    card.wait()
    return max(time.monotonic() - began, 1e-6)


def program() -> str:
    """Return the load as PTX, which every driver translates for its card.

    Each round of a thread reads a word of the data, and goes on with several chains of x = 3.99 x (1 - x), whose bits change all the time.
    """
    start = "\n".join(
        f"    cvt.rn.f32.u32 %f{3 + chain}, %r4;\n    fma.rn.f32 %f{3 + chain}, %f{3 + chain}, 0f2F800000, 0f{struct.pack('>f', 0.1 + 0.09 * chain).hex().upper()};"
        for chain in range(CHAINS)
    )
    step = "\n".join(
        f"    mul.rn.f32 %f{3 + CHAINS + chain}, %f{3 + chain}, %f{3 + chain};\n"
        f"    mul.rn.f32 %f{3 + 2 * CHAINS + chain}, %f{3 + chain}, %f1;\n"
        f"    fma.rn.f32 %f{3 + chain}, %f{3 + CHAINS + chain}, %f2, %f{3 + 2 * CHAINS + chain};"
        for chain in range(CHAINS)
    )
    finish = "\n".join(
        f"    mov.b32 %r10, %f{3 + chain};\n    xor.b32 %r8, %r8, %r10;" for chain in range(CHAINS)
    )
    return f"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry {ENTRY.decode()}(.param .u64 output, .param .u64 data, .param .u32 mask, .param .u32 rounds)
{{
    .reg .pred %p1;
    .reg .b32 %r<12>;
    .reg .f32 %f<{3 + 3 * CHAINS}>;
    .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [output];
    ld.param.u64 %rd2, [data];
    ld.param.u32 %r1, [mask];
    ld.param.u32 %r2, [rounds];
    cvta.to.global.u64 %rd1, %rd1;
    cvta.to.global.u64 %rd2, %rd2;
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r5, %ntid.x;
    mov.u32 %r6, %tid.x;
    mad.lo.u32 %r4, %r3, %r5, %r6;
    mov.u32 %r7, %nctaid.x;
    mul.lo.u32 %r7, %r7, %r5;
    mov.u32 %r9, %r4;
    mov.u32 %r8, %r4;
    mov.f32 %f1, 0f407F5C29;
    mov.f32 %f2, 0fC07F5C29;
{start}
ROUND:
    and.b32 %r10, %r9, %r1;
    mul.wide.u32 %rd3, %r10, 4;
    add.u64 %rd4, %rd2, %rd3;
    ld.global.cg.u32 %r11, [%rd4];
    mad.lo.u32 %r8, %r8, 1664525, %r11;
{step}
    add.u32 %r9, %r9, %r7;
    sub.u32 %r2, %r2, 1;
    setp.ne.u32 %p1, %r2, 0;
    @%p1 bra ROUND;
{finish}
    mul.wide.u32 %rd5, %r4, 4;
    add.u64 %rd6, %rd1, %rd5;
    st.global.u32 [%rd6], %r8;
    ret;
}}
"""


def main(options: dict[str, Any]) -> int:
    """Perform the steps. Returns the exit status."""
    steps: dict[str, Callable[[Card], dict[str, Any]]] = {
        "facts": lambda card: card.facts(),
        "bus": bus,
        "memory": lambda card: memory(card, options["memory"]),
        "load": lambda card: load(card, options["load"]),
    }
    step = "start"
    try:
        card = Card()
        for step in options["steps"]:
            report(step, **steps[step](card))
    except DriverError as error:
        report("error", during=step, call=error.call, code=error.code, words=error.words)
        return 1
    except (OSError, AttributeError) as error:  # no library, or one that lacks a function
        report("error", during=step, call="", code=None, words=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
