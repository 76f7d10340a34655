"""Settings of the miner and of the programs that do its work."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agent.core.machine.schedules import ScheduleWindow
from agent.core.values.quantities import Bytes, Money
from agent.settings._section import HIDDEN, Section


class InputSettings(Section):
    """What a miner fetches for its jobs. Inputs come from strangers."""

    max_size: Bytes = Bytes("10Gi")
    """Largest input file, and most that the checkpoints of one job may have together."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 1800
    """Longest download."""
    allow_http: bool = False
    """Whether `http://` addresses are fetched too. Off: anybody on the way could change them."""
    allow_private: bool = False
    """Whether private, loopback and link-local addresses are fetched. Off: strangers would reach into your network."""
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 5
    """How many redirects are followed; each target is checked like the first."""


class PauseSettings(Section):
    """When GPUs take no jobs. Each is paused by itself; when all are, or there is none, so is the whole miner."""

    schedule: tuple[ScheduleWindow, ...] = ()
    """Times of the week, local time: "Mon-Fri 09:00-18:00", "Sat,Sun 00:00-24:00", "22:00-06:00" (over midnight)."""
    other_programs: bool = False
    """Whether a GPU is paused while another program computes on it, or keeps it busy while nothing of ours works there.
    Off: idle models make room for other programs in any case."""
    other_utilization: Annotated[float, Field(gt=0, le=100)] = 25
    """Percent of a GPU that programs which only draw (games, films) must use for that; a desktop takes less."""
    max_temperature: Annotated[float, Field(gt=0, le=150)] | None = None
    """Degrees Celsius above which a GPU takes no more jobs. None: the driver slows a card that is too hot."""
    temperature_margin: Annotated[float, Field(ge=0, le=100)] = 5
    """How many degrees below the limit it must be again."""
    max_power: Annotated[float, Field(gt=0)] | None = None
    """Watts above which a GPU takes no more jobs. None: the card's own limit is enough."""
    power_margin: Annotated[float, Field(ge=0)] = 20
    """How many watts below the limit it must be again."""
    hold_seconds: Annotated[float, Field(ge=0)] = 60
    """How long other programs, heat or power must be gone before work goes on, so that it does not come and go."""


class GpuPauseSettings(Section):
    """The same for one GPU. What is given here takes the place of `miner.pause`; an empty schedule is one."""

    schedule: tuple[ScheduleWindow, ...] | None = None
    """Times of the week at which this GPU is paused. None: those of `miner.pause`, like everything below."""
    other_programs: bool | None = None
    """Whether it is paused while another program uses it."""
    other_utilization: Annotated[float, Field(gt=0, le=100)] | None = None
    """Percent that programs which only draw must use for that."""
    max_temperature: Annotated[float, Field(gt=0, le=150)] | None = None
    """Degrees Celsius above which it takes no more jobs."""
    temperature_margin: Annotated[float, Field(ge=0, le=100)] | None = None
    """How many degrees below the limit it must be again."""
    max_power: Annotated[float, Field(gt=0)] | None = None
    """Watts above which it takes no more jobs."""
    power_margin: Annotated[float, Field(ge=0)] | None = None
    """How many watts below the limit it must be again."""
    hold_seconds: Annotated[float, Field(ge=0)] | None = None
    """How long the cause must be gone."""


class GpuSettings(Section):
    """What holds for one GPU only."""

    pause: GpuPauseSettings = GpuPauseSettings()


def _check_gpu_name(name: str) -> str:
    if re.fullmatch(r"\d{1,3}|GPU-[0-9a-fA-F-]{1,40}", name, re.ASCII) is None:
        raise ValueError(f'{name!r} names no GPU; write its index ("0") or its UUID ("GPU-...")')
    return name


GpuName = Annotated[str, AfterValidator(_check_gpu_name)]


class MinerSettings(Section):
    """The miner: whom it works for, what it offers, how it ends its work."""

    coordinator: Annotated[str | None, Field(examples=["https://coordinator.example.org"])] = None
    """URL of the coordinator to join. None: one is started inside this agent."""
    name: Annotated[str | None, Field(examples=["rig-1"])] = None
    """How this miner is called in lists. None: the host's name."""
    enrolment_token: Annotated[
        str | None, Field(examples=["enrol_..."], json_schema_extra={HIDDEN: True})
    ] = None
    """Token for joining, needed once."""
    slots: Annotated[int, Field(ge=1, le=256)] | None = None
    """Jobs at the same time. None: one per GPU, one on a machine without."""
    prices: dict[str, Money] = Field(default={}, examples=[{"whisper_transcription": Money("0.0002")}])
    """Price per metered unit by service id. A service that is not named costs `default_price`."""
    default_price: Money = Money("0.0001")
    """Price per metered unit of services without a price of their own."""
    drain_seconds: Annotated[float, Field(ge=0)] = 30
    """How long a stop waits for running jobs before it hands their leases back."""
    load_seconds: Annotated[float, Field(gt=0)] = 600
    """Longest loading of a model that is on disk."""
    stall_seconds: Annotated[float, Field(gt=0)] = 300
    """A runner that reports no progress for so long is taken for hung, ended and replaced."""
    cancel_seconds: Annotated[float, Field(ge=0)] = 1
    """How long a cancelled runner may take to stop by itself before it is terminated, then killed."""
    idle_seconds: Annotated[float, Field(gt=0)] = 300
    """How long a runner's child process is kept warm without work."""
    place_seconds: Annotated[float, Field(ge=0)] = 60
    """How long a job that has been taken waits for room on a device before it is handed on to another miner."""
    child_memory: Bytes | None = None
    """Main memory that one runner's process may take before it is ended. None: nine tenths of the machine's."""
    vram_reserve: Bytes = Bytes("512Mi")
    """Memory of every GPU that stays free for its owner. When other programs need it, idle models leave."""
    max_outbox: Annotated[int, Field(ge=1)] = 1000
    """Finished jobs that may wait for the coordinator; at this many no new work is fetched."""
    models_quota: Annotated[Bytes, Field(gt=0)] | None = None
    """Most that all models on disk may take. Beyond it, those that the agent fetched itself make room for new ones, the one
    that was used longest ago first. None: only the disk is the limit, and nothing is ever removed."""
    models_pinned: tuple[str, ...] = ()
    """Names of models that never make room for others."""
    gpu_look_seconds: Annotated[float, Field(gt=0)] = 10
    """How often a miner without any GPU looks whether the driver has one now. It costs a millisecond; when one has appeared, running
    jobs end first, then the miner finds out anew what it can do."""
    transport: Literal["auto", "websocket", "poll"] = "auto"
    """How to speak to the coordinator: the WebSocket, long polls, or the first with the second as a fallback."""
    pause: PauseSettings = PauseSettings()
    gpus: dict[GpuName, GpuSettings] = Field(
        default={}, examples=[{"0": GpuSettings(pause=GpuPauseSettings(max_temperature=80))}]
    )
    """Settings of single GPUs, by index ("0") or UUID ("GPU-...", or its beginning), e.g. `[miner.gpus.0.pause]`."""
    metrics_port: Annotated[int | None, Field(ge=0, le=65535, examples=[9420])] = None
    """Port on which Prometheus reads this miner's numbers (docs/reference/metrics.md); 0 takes a free one, which `aitbc-agent status --json` names.
    None: no port is opened, since a miner needs none to work, and two on one machine would want the same."""
    metrics_host: str = "127.0.0.1"
    """Address of that port. There is no key: whoever reaches it reads what this machine does and earns, so the default is loopback."""
    inputs: InputSettings = InputSettings()


class RunnersSettings(Section):
    """Programs and limits of the runners."""

    ffmpeg: str = "ffmpeg"
    """The ffmpeg program, a name on PATH or a path."""
    ffprobe: str = "ffprobe"
    """The ffprobe program."""
    blender: str = "blender"
    """The Blender program. Debian's renders on the processor only; Blender's own build has CUDA and OptiX."""
    bubblewrap: str = "bwrap"
    """The bubblewrap program that isolates programs which read strangers' files."""
    sandbox: Literal["auto", "bubblewrap", "landlock", "off"] = "auto"
    """What isolates programs that read strangers' files (docs/explanation/sandbox.md). `auto`: bubblewrap, or Landlock where bubblewrap does not
    work, as in most containers. `bubblewrap` and `landlock` demand one: no service without it. `off` is for machines that isolate the
    whole agent by other means."""
    sandbox_first_user: Annotated[int, Field(ge=1000, le=2**31)] = 58_000
    """Where the agent is root, sandboxed programs run as users of their own, one for each run, with ids from this one on. The first is
    a group of all of them. The default lies where Debian and systemd give out no ids, and within what containers usually have."""
    sandbox_users: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """How many ids these are. More sandboxed programs than ids less one cannot run at the same time."""
    max_memory: Bytes = Bytes("8Gi")
    """Memory that one sandboxed run may take: all its processes and their shared memory together. A job that asks for more
    (`resources.memory`) fails."""
    max_output: Bytes = Bytes("10Gi")
    """Disk space that one sandboxed run may take: all files that it writes together, scratch files and results. A file counts
    with its apparent size, since a sparse file is stored with its holes."""
    max_file: Bytes = Bytes("8Gi")
    """Largest single file that a sandboxed run may write: two hours of video at 8 Mbit/s take 6.7 GiB."""
    max_unpacked: Bytes = Bytes("2Gi")
    """Size to which the archive of a client's Python model may unpack. It counts against `max_output` as well."""
    max_environment: Bytes = Bytes("16Gi")
    """Disk space that the requirements of one Python model may take: the environment and the packages fetched for it. PyTorch with
    CUDA takes about 14 GiB of both."""
    environments_quota: Annotated[Bytes, Field(gt=0)] = Bytes("48Gi")
    """Disk space of the environments that are kept for Python models and of the packages kept to make others, together. Those
    used least recently go first, so that `max_environment` is free for the next one."""
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """How many language model requests for one model are computed together, in one place for one job."""
    model_download: bool = True
    """Whether models that are not on disk may be downloaded when a job needs them."""
    python_models: bool = True
    """Whether clients' own Python models are run (always inside the sandbox)."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 30
    """How long a transcription or a transcoding works before it hands over its next checkpoint, so that another miner can go on from
    there. It is the most work that a lost machine costs; each checkpoint is an upload. Shorter jobs hand over nothing."""
    python_models_in_landlock: bool = False
    """Whether they are run in the Landlock sandbox too. It hides less of the machine (docs/explanation/sandbox.md), and a model is code that a
    stranger wrote to do what it likes; the other services start only programs of yours."""
