"""The contract between a runner and the program that hosts it.

A runner is one class in one module. The coordinator reads only its `definition`, so the module must import without
its engine: import torch and similar packages inside functions. A miner calls `probe` in the daemon and all other methods in a
child process that belongs to this runner alone.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
)

from pydantic import BaseModel, ConfigDict, Field

from runners.audits import Audited as Audited  # noqa: PLC0414 - exported as part of the contract
from runners.audits import AuditResult as AuditResult  # noqa: PLC0414 - as above
from runners.audits import Calibration as Calibration  # noqa: PLC0414 - as above
from runners.audits import Comparer as Comparer  # noqa: PLC0414 - as above
from runners.audits import Comparison as Comparison  # noqa: PLC0414 - as above
from runners.audits import Condition as Condition  # noqa: PLC0414 - as above
from runners.audits import device_class
from runners.audits import judge as judge  # noqa: PLC0414 - as above
from runners.errors import Cancelled as Cancelled  # noqa: PLC0414 - as above
from runners.errors import Fail as Fail  # noqa: PLC0414 - as above
from runners.errors import FailureCode as FailureCode  # noqa: PLC0414 - as above
from runners.errors import Retry as Retry  # noqa: PLC0414 - as above
from runners.errors import RunnerError as RunnerError  # noqa: PLC0414 - as above
from runners.errors import TimedOut as TimedOut  # noqa: PLC0414 - as above
from runners.errors import WrongField as WrongField  # noqa: PLC0414 - as above
from runners.forms import FormField as FormField  # noqa: PLC0414 - as above
from runners.forms import ServiceForm as ServiceForm  # noqa: PLC0414 - as above
from runners.input_files import InputFile as InputFile  # noqa: PLC0414 - as above
from runners.input_files import fields_of, values_at
from runners.input_options import Since as Since  # noqa: PLC0414 - as above
from runners.input_options import options_of

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Strict(BaseModel, defer_build=True):
    """Base of all input models: unknown fields are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def shown_as(example: Mapping[str, Any]) -> ConfigDict:
    """Return the configuration of an input model whose JSON Schema contains this example of a whole request."""
    return ConfigDict(json_schema_extra={"examples": [dict(example)]})


class Inline(Strict):
    """A small text file that travels inside the request."""

    inline: str = Field(max_length=1_000_000)


class File(BaseModel, defer_build=True):
    """An output file in the client's results. Use it in output models where a run returns an `OutputFile`.

    `size` is in bytes. The object also has the fields of `OutputFile.extra`.
    """

    model_config = ConfigDict(extra="allow")

    artifact_id: str
    url: str
    media_type: str
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Declares that the runs of a service hand over files, from which a later run of the same job resumes on another miner."""

    resumes: str
    """The parts of the work that are not repeated, such as "frames"."""
    files: Mapping[str, str]
    """Regular expressions of the names of checkpoints, with the media type of each. No other file of an earlier run reaches a runner."""
    outputs: bool = False
    """Whether each checkpoint is also a finished output, which the client can read while the job runs."""

    def accepts(self, name: str, media_type: str) -> bool:
        """Return whether a file with this name and media type is a checkpoint of the service."""
        return any(
            media_type == expected and re.fullmatch(pattern, name) is not None
            for pattern, expected in self.files.items()
        )


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a machine needs before it can offer a service. Sizes are bytes."""

    gpu: Literal["required", "optional", "unused"] = "optional"
    """Whether a GPU is required, used if present, or never used."""
    vram: int = 0
    memory: int = 0
    disk: int = 0


@dataclass(frozen=True, slots=True)
class SoldUnit:
    """What people count and buy a service's work by: `units` of the metering unit are one "hour of audio".

    `detail` says which kind: a "picture" "of 1024x1024 at 20 steps".
    """

    name: str
    plural: str
    units: Decimal
    detail: str | None = None


TOKENS: Final = (
    SoldUnit("token", "tokens", Decimal(1)),
    SoldUnit("million tokens", "million tokens", Decimal(1_000_000)),
)
"""What people buy of the services of language models, whose unit is a token."""


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """A service as the registry describes it."""

    service_id: str
    name: str
    category: str
    description: str
    tags: tuple[str, ...]
    unit: str
    """The metering unit in words, such as "audio second"."""
    determinism: str
    """How two results for one request compare: "exact", or a sentence about the differences."""
    input_model: type[BaseModel]
    output_model: type[BaseModel]
    requirements: Requirements = Requirements()
    route: str | None = None
    """The path below `/v1/services/`."""
    model_field: str | None = None
    """The input field that holds a catalogue name; None if the service has no models."""
    body_fields: tuple[str, ...] = ()
    """The fields of the job body that make the service's input; if empty, the input is the object `parameters`."""
    upload_field: Callable[[Mapping[str, Any], str], str] | None = None
    """Given the input and the name of an uploaded file, returns the file field that it fills."""
    sale_units: tuple[SoldUnit, ...] = ()
    """What people count the work by, in multiples of `unit`, smallest first. Prices are shown for the last one. Without them, `unit` is shown."""
    cpu_unit: str | None = None
    """The unit on machines without a GPU, if it differs."""
    unit_is_time: bool = False
    """Whether units are seconds of the run's own duration, so that no run can meter more than have passed."""
    adapters: Callable[[Mapping[str, Any]], Sequence[str]] | None = None
    """Given the input, returns the catalogue's adapters (such as LoRA) that it uses in addition to its model."""
    size: Callable[[Mapping[str, Any]], str] | None = None
    """Describes the part of an input that determines its GPU memory, such as "1024x1024"."""
    needs: Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]] | None = None
    """Returns features of the engine without which an input cannot run: pairs of a name in `Probe.features` and a value that it contains."""
    options: tuple[str, ...] = ()
    """What inputs may request that older agents refuse, in words, besides fields with the mark `Since`. `needs` returns ("options", WORDS) for such inputs."""
    units: Callable[[Mapping[str, Any]], Decimal | None] | None = None
    """Returns the metered units if the input alone determines them."""
    checkpoints: Checkpoints | None = None
    """How a run resumes the work of an earlier one. Without it, a job whose miner is lost starts from scratch."""
    title: Callable[[Mapping[str, Any], Mapping[str, str]], str | None] | None = None
    """Names a request in lists, from its input and the names of its files by field. Without a title, it has the name of its first file."""
    comparer: Comparer | None = None
    """How this service's runner checks the work of another miner; None if it cannot."""
    unprovable: Callable[[Mapping[str, Any]], str | None] | None = None
    """Returns why no comparison of a request's results can prove anything and what to change, in sentences; None if one can. Such requests are not
    audited."""
    form: ServiceForm | None = None
    """The words and the order of the input's fields for people; without it, they are made from the schema."""
    reuses: bool = False
    """Whether runs continue from what earlier ones have computed for the same beginning, such as prompts, if they have the same salt."""

    def unit_on(self, device_kind: str) -> str:
        """Return the metering unit of a run on a device of this kind ("cuda", "vulkan" or "cpu")."""
        return self.cpu_unit if device_kind == "cpu" and self.cpu_unit else self.unit

    def sale_units_on(self, device_kind: str) -> tuple[SoldUnit, ...]:
        """Return what people count the work of a device of this kind by, smallest first; at least the metering unit itself."""
        unit = self.unit_on(device_kind)
        return (self.sale_units if unit == self.unit else ()) or (SoldUnit(unit, f"{unit}s", Decimal(1)),)

    def file_fields(self) -> dict[str, InputFile]:
        """Return the input fields that hold the address of a file, by dotted path, in which "*" stands for each element of a list."""
        return dict(fields_of(self.input_model))

    def input_options(self) -> tuple[str, ...]:
        """Return all options of inputs that older agents do not know: see `runners.input_options`."""
        return (*options_of(self.input_model), *self.options)

    def files_of(self, values: Mapping[str, Any]) -> Iterator[tuple[str, InputFile, Any]]:
        """Yield each file field of an input: its path, its mark, and its value, None without one."""
        for path, mark in self.file_fields().items():
            for location, value in values_at(values, path.split(".")):
                yield location, mark, value


DeviceKind: TypeAlias = Literal["cuda", "vulkan", "cpu"]
"""An NVIDIA card; another maker's card, which only engines with Vulkan can use; the processor."""

USUAL_KINDS: Final[tuple[DeviceKind, ...]] = ("cuda", "cpu")
"""The kinds of devices that an engine can use if its probe does not say otherwise."""

PROBE_SECONDS: Final = 200.0
"""Time limit for a program that a probe starts: long, since a busy machine is not a broken one, but below the default of
`miner.stall_seconds`, since a job may wait for a probe silently."""

_CACHED: list[Callable[[], None]] = []


def cached_probe(probe: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a probe of this machine, such as whether an encoder works. Its result is cached until `forget_probes`.

    Exceptions are not cached: a probe that takes too long raises `TimedOut`.
    """
    cached = cache(probe)
    _CACHED.append(cached.cache_clear)
    # `functools.cache` is typed for hashable arguments only, and hides the names of parameters.
    return cast("Callable[_P, _T]", cached)


def forget_probes() -> None:
    """Clear all cached probes, because the machine has changed: for example, a driver was loaded."""
    for forget in _CACHED:
        forget()


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs, folders and limits of this machine, from the settings `runners.*`, which describe them. Sizes are bytes, times seconds."""

    ffmpeg: str = "ffmpeg"
    ffprobe: str = "ffprobe"
    blender: str | None = None
    bubblewrap: str = "bwrap"
    models_dir: Path = Path("models")
    cache_dir: Path = Path("cache")
    sandbox: Literal["auto", "bubblewrap", "landlock", "off"] = "auto"
    sandbox_first_user: int = 58_000
    sandbox_users: int = 1000
    max_memory: int = 8 * 2**30
    max_output: int = 10 * 2**30
    max_file: int = 8 * 2**30
    max_files: int = 20_000
    max_depth: int = 100
    max_processes: int = 128
    max_unpacked: int = 2 * 2**30
    max_picture_pixels: int = 64_000_000
    max_environment: int = 16 * 2**30
    environments_quota: int = 48 * 2**30
    batch: int = 8
    """The number of runs that may share one model at the same time, in runners that support it."""
    python_models: bool = True
    checkpoint_seconds: float = 30.0
    """The time between two checkpoints of a run."""
    python_models_in_landlock: bool = False
    nvenc_sessions: int = 8
    """Videos that are encoded on the machine's GPUs at the same time."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether this machine can offer the service."""

    available: bool
    version: str = ""
    """The engine's, such as "7.1.3"; if there are several engines, one of `versions`."""
    reasons: tuple[str, ...] = ()
    """Sentences for the owner: why not, and the remedy; or, if `available`, what is missing for more speed."""
    features: Mapping[str, Any] = field(default_factory=dict)
    """Free-form, such as the encoders that work."""
    concurrency: int = 1
    """Concurrent runs of one model in one child; above 1 only if the runner is `concurrent`."""
    gpus: int = 1
    """GPUs that the engine can use together for one model."""
    undecided: bool = False
    """Whether a part took too long, so that the probe is repeated."""
    versions: tuple[str, ...] = ()
    """The versions of all engines if there are several, such as "vllm-0.32.0"."""
    kinds: Mapping[str, tuple[DeviceKind, ...]] = field(default_factory=dict)
    """The kinds of devices on which an engine computes here, by its name in the feature `engines`; `USUAL_KINDS` for the others.

    One that finds no GPU gets only the processor, also on a machine with GPUs: memory, price and audits then are those of a processor.
    """


@dataclass(frozen=True, slots=True)
class Device:
    """The device of a child process: one GPU by UUID, or the CPU with a number of threads."""

    kind: DeviceKind
    name: str
    uuid: str | None = None
    threads: int = 1
    memory: int = 0
    """The card's VRAM in bytes; 0 on a CPU."""
    compute_capability: str | None = None
    """NVIDIA's, such as "8.9"; None on a CPU."""
    others: tuple[str, ...] = ()
    """The UUIDs of further cards of the same size that an engine uses together with this one."""
    device_files: tuple[str, ...] = ()
    """The device files of its cards and slices, without those of the driver, as names in /dev ("nvidia0"); empty if unknown."""
    by_index: bool = True
    """False for a slice of a card (MIG) that engines which look cards up by NVML's index mistake for another card."""
    bus: str | None = None
    """The card's PCI address, such as "0000:01:00.0"; None on a CPU and if unknown."""
    other_buses: tuple[str | None, ...] = ()
    """Those of `others`."""

    @property
    def words(self) -> str:
        """The device for people."""
        if self.kind == "cpu":
            return f"the CPU ({self.threads} thread{'s' if self.threads != 1 else ''})"
        return self.name if not self.others else f"{len(self.gpus)} x {self.name}"

    @property
    def category(self) -> str:
        """Its class in the conditions of audits: see `Condition.device`."""
        return device_class(self.kind, self.name)

    @property
    def gpus(self) -> tuple[str, ...]:
        """The UUIDs of its GPUs."""
        return (*((self.uuid,) if self.uuid is not None else ()), *self.others)

    def together(self, others: Sequence[Device]) -> Device:
        """Return this card and others of the same size as one device."""
        devices = (self, *others)
        # With the files of some alone, an engine could not use the others.
        complete = all(device.device_files for device in devices)
        return replace(
            self,
            others=tuple(uuid for device in others for uuid in device.gpus),
            device_files=tuple(name for device in devices for name in device.device_files)
            if complete
            else (),
            other_buses=tuple(bus for device in others for bus in (device.bus, *device.other_buses)),
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A catalogue entry on this machine."""

    name: str
    path: Path
    """A directory."""
    source: str = ""
    """The entry's repository."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The entry's own settings for its runner, such as the number of steps that the model was trained for."""
    engines: tuple[str, ...] = ()
    """Those that can load it, best first."""
    adapters: Mapping[str, Path] = field(default_factory=dict)
    """The directories of the models that are this one with an adapter, by name: they share its weights, and a run uses one of them at most."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that the run wrote below `Context.output`. Put it into the results where the client should find it.

    The client sees `{artifact_id, url, media_type, size, name}` and the fields of `extra`.
    """

    path: Path
    media_type: str
    name: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run. The host adds `processing_time` and `units` to the client's results."""

    results: Mapping[str, Any]
    """They match the output model, with an `OutputFile` for each file."""
    units: Decimal
    """The metered units."""
    evidence: Mapping[str, Any] | None = None
    """JSON for a later audit, such as the probabilities of the tokens. The client does not see it, the miner signs its digest, and it should stay
    small (`audits.max_evidence`)."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A typical request for measuring a machine, and the unit of its speed, which is `scale` x units / seconds."""

    parameters: Mapping[str, Any]
    """Those of a request without its model, which the measuring program fills in."""
    metric: str
    """The unit of the speed, such as "token/s"."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """The input files by field."""
    scale: Decimal = Decimal(1)
    counted: Literal["units", "runs"] = "units"
    """If the unit is time itself, units do not measure speed: "runs" uses the number of runs instead ("run/s")."""


class Context(Protocol):
    """The interface of a run to its host. Every method is quick and may be called from any thread of the child."""

    @property
    def files(self) -> Mapping[str, Path]:
        """The fetched input files by field name."""

    @property
    def output(self) -> Path:
        """An empty directory for output files."""

    @property
    def work(self) -> Path:
        """An empty directory for scratch files; deleted after the run."""

    @property
    def adapters(self) -> Mapping[str, Model]:
        """The adapters that the request names, by catalogue name (see `ServiceDefinition.adapters`)."""

    @property
    def checkpoints(self) -> Mapping[str, Path]:
        """Checkpoints of earlier runs of this job, by name, in a directory of their own; only read them.

        Another miner made them, so treat them as untrusted. Copy reused files to `output`, and state in the results
        which parts were resumed, because this miner signs them.
        """

    @property
    def resources(self) -> Mapping[str, str]:
        """The job's `resources` as the client sent them (Kubernetes quantities)."""

    @property
    def timeout_seconds(self) -> float:
        """Time left until the job's hard deadline when the run began."""

    @property
    def seed(self) -> str | None:
        """The seed for random choices that the client left open, hex of 32 bytes; None if the lease gave none.

        It follows from the job, the lease and the miner's key, so an auditor can repeat the choices.
        """

    @property
    def cache_salt(self) -> str | None:
        """What was computed from a request, such as a prompt's attention, may be reused only for runs with the same salt.

        Time shows reuse, so sharing with other clients would reveal to each what the others have sent. None: reuse nothing.
        """

    @property
    def wants_evidence(self) -> bool:
        """Whether `Result.evidence` is used: that of a sealed run is not, since it would describe what only the client may know."""

    @property
    def max_units(self) -> Decimal | None:
        """The most units that the client pays for; None without a limit. The host ends a run that reports more.

        A runner that can return a useful part of its result ends earlier on its own.
        """

    def progress(self, percent: float | None, units: Decimal = Decimal(0)) -> None:
        """Report progress, 0 to 100, and the units metered so far. A run that does not call this is considered hung.

        The client pays for these units if the run ends by the client's choice or fault. None repeats the last report: the run works,
        but cannot say how far it is.
        """

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Publish an event of the job to its subscribers: a token, a preview, a finished segment."""

    def log(self, text: str, source: str = "runner") -> None:
        """Add lines to the job's log, which its client reads: what a program printed, or warned of.

        `source` names the program or stream in up to 32 characters ("stdout", "ffmpeg"). The log is bounded: of a long one,
        the beginning and the end remain. Lines never go to the logs of the machine.
        """

    def checkpoint(self, file: OutputFile) -> None:
        """Hand over a file below `output` before the run ends. The file must not change afterwards.

        It is stored while the run continues. If another miner takes over the job, its run finds the file in `checkpoints`. A
        checkpoint is not a result: also return it in the results if it is one. Raises `ValueError` unless
        `ServiceDefinition.checkpoints` accepts the file.
        """

    def check(self) -> None:
        """Raise `Cancelled` if the job was cancelled. Call it between steps."""

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call `callback()` from another thread when the job is cancelled, for example to end a running program.

        It is called immediately, in this thread, if the job has already been cancelled.
        """


RequestT = TypeVar("RequestT", bound=BaseModel)


class Runner(ABC, Generic[RequestT]):
    """Performs one service in a child process bound to one device.

    One instance serves many jobs, one after the other; `load` is called when the model changes.
    """

    definition: ClassVar[ServiceDefinition]
    name: ClassVar[str]
    version: ClassVar[str]
    concurrent: ClassVar[bool] = False
    """Whether up to `Probe.concurrency` threads call `run` at the same time. `load` and `close` are called only while no run is active."""
    engines_by_index: ClassVar[frozenset[str]] = frozenset()
    """Engines that look their card up by NVML's index; see `Device.by_index`."""
    engines_profiling: ClassVar[frozenset[str]] = frozenset()
    """Engines that measure the free memory of their cards while they load a model, and fail if another program frees some meanwhile."""
    sandboxed: ClassVar[bool] = False
    """Whether only programs in `runners.sandbox` read the client's files."""

    def __init__(self, tools: Tools, device: Device) -> None:
        self.tools = tools
        self.device = device
        self.vram: int | None = None
        """Bytes that the next `load` and the runs after it may take of each GPU; None without a limit.

        A model that needs more at full speed saves memory at the cost of time, or raises `Retry`.
        """

    @classmethod
    @abstractmethod
    def probe(cls, tools: Tools) -> Probe:
        """Report whether this machine can offer the service. Runs in the daemon: quickly, without heavy imports."""

    def load(self, model: Model | None) -> None:
        """Unload the current model and load another. Raises `Retry` if it cannot be loaded on this machine."""

    @abstractmethod
    def run(self, request: RequestT, context: Context) -> Result:
        """Perform a job. Raises `Fail` for an unusable input and `Retry` for a fault of the machine."""

    def audit(self, request: RequestT, audited: Audited, context: Context) -> AuditResult:
        """Compare the work of another miner with own work on the same request, of a service with a `comparer`.

        `request` and `context.files` are those of the audited job. Return the distances even if the verdict is "unproven": calibrations
        are made from them. Raises the same errors as `run`; nothing that the audited miner sent may be a reason for `Retry`.
        """
        raise NotImplementedError(f"{self.name} compares nothing.")

    def weights(self, model: Model) -> tuple[Path, ...]:  # noqa: ARG002 - the default for runners without models
        """Return the files whose digests identify the weights of `model` and of the last run's adapters, in a fixed order.

        `model` has only the adapters of that run.
        """
        return ()

    def engine_version(self) -> str:
        """Return the version of the engine that made the last run, as in `Probe.versions`; "" for `Probe.version`."""
        return ""

    def vram_peak(self) -> int:
        """Return the peak GPU memory of this process in bytes since `load`, runs included; 0 if unknown.

        Placement learns the memory needs of a model from it.
        """
        return 0

    def locked_memory(self) -> int:
        """Return the bytes of main memory that the loaded model has locked for a GPU's copies, which the kernel counts for no process."""
        return 0

    @classmethod
    def engines(cls, model: Model) -> tuple[str, ...]:
        """Return the engines that can load the files of `model`, best first: names as in the probe's feature `engines`.

        The miner runs the job in an environment that has the first of them.
        """
        return model.engines

    @classmethod
    def calibration(cls, tools: Tools, directory: Path) -> Sequence[Benchmark]:
        """Return different typical requests whose honest runs are compared by `aitbc-agent calibrate`; by default the benchmark's."""
        benchmark = cls.benchmark(tools, directory)
        return () if benchmark is None else (benchmark,)

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark | None:  # noqa: ARG003 - the default
        """Return a typical request, with input files in `directory`; None for a runner without a benchmark."""
        return None

    def close(self) -> None:
        """Free the memory of the model. Called when it is unloaded and before the child ends; a `load` may follow."""
