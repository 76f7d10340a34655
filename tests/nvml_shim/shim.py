"""Builds and controls the simulated NVIDIA library, in which GPUs appear, disappear and fill up."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_shim.c")

NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
GPU_IS_LOST = 15
VERSION_MISMATCH = 18


@dataclass(frozen=True)
class Slice:
    """An instance of a GPU in MIG mode. Memory is in bytes; `processes` as of a `Card`; `gi` and `ci` are the ids of its GPU instance and compute instance."""

    uuid: str
    name: str = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    total: int = 5 * 2**30
    reserved: int = 0
    used: int = 0
    processes: str | None = None
    graphics: str | None = None
    gi: int | None = None
    ci: int | None = None


@dataclass(frozen=True)
class Card:
    """One GPU. Memory is in bytes, power in milliwatts. None means unsupported.

    `ecc` counts uncorrectable errors, `remapped` is about rows of memory, `retired` about pages, and `clocks` is a bit mask of
    reasons; see nvml_shim.c. `processes` compute and `graphics` render there: ids separated by commas, each with its bytes of memory after a colon.
    `power_range` is its least and largest limit, `energy` counts millijoules, `minor` is the number of its device file, `bus` its PCI address as NVML writes it, `recovery` what
    the driver wants done with it, and CUDA orders cards by `cores` and `clock` (MHz).
    `mig` states whether it is in MIG mode, None on a card without one; `instances` are its slices by number, None for a free number.
    """

    uuid: str
    name: str = "NVIDIA GeForce RTX 4090"
    capability: str | None = "8.9"
    total: int | None = 24 * 2**30
    reserved: int = 512 * 2**20
    used: int = 0
    temperature: int | None = 41
    power: int | None = 60_500
    power_limit: int | None = 450_000
    utilization: int | None = 3
    processes: str | None = None
    graphics: str | None = None
    ecc: int | None = None
    remapped: str | None = None
    retired: int | None = None
    clocks: int | None = None
    xid: int | None = None
    recovery: int | None = None
    minor: int | None = None
    bus: str | None = None
    power_range: str | None = "150000,450000"
    power_default: int | None = 450_000
    energy: int | None = None
    cores: int | None = 16384
    clock: int | None = 2520
    clock_now: int | None = None
    link: str | None = None
    ecc_corrected: int | None = None
    compute_mode: int | None = 0
    error: int | None = None
    mig: int | None = None
    instances: tuple[Slice | None, ...] = ()


TWO_CARDS = (
    Card("GPU-11111111-aaaa-4aaa-8aaa-000000000001"),
    Card("GPU-22222222-bbbb-4bbb-8bbb-000000000002"),
)


def build(directory: Path, without: Sequence[str] = ()) -> Path:
    """Compile the library into `directory`, without the functions `without`, and return `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    local = "".join(f"{name};" for name in without)
    script = directory / "version.map"
    script.write_text(f"{{ global: nvml*; local: {local} }};" if local else "{ global: nvml*; };")
    command = [
        "gcc",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-O1",
        "-shared",
        "-fPIC",
        "-Wl,-soname,libnvidia-ml.so.1",
    ]
    command += [f"-Wl,--version-script={script}", "-o", str(directory / "libnvidia-ml.so.1"), str(SOURCE)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return directory


@dataclass
class NvmlShim:
    """The GPUs of programs started with `environment`. Assign and `write` to change them while they run."""

    library: Path
    file: Path
    cards: tuple[Card, ...] = TWO_CARDS
    init: int = 0
    driver: str = "570.86.15"
    generation: int = 1
    hang: bool = False
    privileged: bool = True
    errors: dict[str, int] = field(default_factory=dict)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.write()

    @property
    def environment(self) -> Mapping[str, str]:
        """Return this process's environment with the simulated library first."""
        visible = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return {**visible, "LD_LIBRARY_PATH": str(self.library), "NVML_SHIM_FILE": str(self.file)}

    def change(self, index: int, **values: object) -> None:
        """Change one GPU, e.g. `change(0, used=20 * 2**30)` for memory of another program."""
        with self._changing:  # memory use is counted in a thread beside the test
            cards = list(self.cards)
            cards[index] = replace(cards[index], **values)
            self.cards = tuple(cards)
            self.write()

    def write(self) -> None:
        """Make the state visible atomically."""
        lines = [
            f"init {self.init}",
            f"driver {self.driver}",
            f"count {len(self.cards)}",
            f"generation {self.generation}",
            f"hang {int(self.hang)}",
            f"privileged {int(self.privileged)}",
        ]
        lines += [f"{name if '.' in name else f'error.{name}'} {code}" for name, code in self.errors.items()]
        for index, card in enumerate(self.cards):
            parts = {f"{index}": asdict(replace(card, instances=()))}
            parts[f"{index}"]["slices"] = len(card.instances)
            parts |= {f"{index}:{number}": asdict(part) for number, part in enumerate(card.instances) if part}
            lines += [
                f"{part}.{name} {value}"
                for part, values in parts.items()
                for name, value in values.items()
                if value not in (None, ())
            ]
        temporary = self.file.with_name(f"{self.file.name}.new")
        temporary.write_text("\n".join(lines) + "\n")
        temporary.replace(self.file)
