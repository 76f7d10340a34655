"""Settings of the miner and of the programs that do its work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agent.core.values.quantities import Bytes, Money
from agent.miner.schedules import ScheduleWindow
from agent.sections import HIDDEN, Currency, HomePath, Section, extensible
from aitbc.errors import FormatError
from aitbc.keys import parse_vkey


class InputSettings(Section):
    """Input files that a miner downloads for its jobs. They come from strangers."""

    max_size: Bytes = Bytes("10Gi")
    """Maximum size of an input file, and maximum total size of the checkpoints of one job."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 1800
    """Time limit of a download."""
    allow_http: bool = False
    """Whether to download from `http://` URLs. Off by default: anyone on the network path could change the files."""
    allow_private: bool = False
    """Whether to download from private, loopback and link-local addresses. Off by default: strangers could reach into your
    network."""
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 5
    """Maximum number of redirects; each target is checked like the first URL."""


RunningJobs = Literal["finish", "checkpoint", "hand_back"]


class PauseSettings(Section):
    """When GPUs accept no jobs. Each GPU is paused on its own; if all are paused, or if there is none, the whole miner is."""

    schedule: tuple[ScheduleWindow, ...] = ()
    """Times of the week, in local time: "Mon-Fri 09:00-18:00", "Sat,Sun 00:00-24:00", "22:00-06:00" (over midnight)."""
    faulty: bool = True
    """Whether a GPU is paused that the driver has lost, that has uncorrectable memory errors, or that its hardware slows down."""
    other_programs: bool = False
    """Whether a GPU is paused while another program computes on it, or keeps it busy while no job of the agent runs there. Even
    when this is off, idle models are unloaded when other programs need the memory."""
    other_utilization: Annotated[float, Field(gt=0, le=100)] = 25
    """Utilisation in percent above which programs that only draw (games, films) count as using the GPU; a desktop uses less."""
    other_memory: Bytes | None = Bytes("2Gi")
    """Memory of a GPU from which one program counts as using it even if it only draws and a job of the agent keeps the GPU busy, as a game does.
    Desktops and browsers use less. None: only the utilisation counts."""
    idle_minutes: Annotated[float, Field(gt=0, le=1440)] | None = Field(default=None, examples=[3])
    """Minutes without use of keyboard, mouse and terminals after which the machine works; it pauses at their next use. None: their use pauses
    nothing (docs/how-to/pausing.md has what desktops report)."""
    full_screen: bool = False
    """Whether the machine is paused while a window of X11 fills the screen, under Wayland also one of most games."""
    programs: tuple[str, ...] = Field(default=(), examples=[["obs", "blender"]])
    """Names of programs; while one of them runs, the machine is paused."""
    other_load: Annotated[float, Field(gt=0, le=100)] | None = Field(default=None, examples=[25])
    """Percent of all processors that other programs may use for ten seconds before the machine is paused. None: their work pauses nothing."""
    on_battery: bool = True
    """Whether the machine is paused while a battery or an UPS powers it."""
    running_jobs: RunningJobs = "finish"
    """What happens to the job that runs on a GPU when another program uses it, or on the machine when one of the settings above pauses it: it may `finish`; it is returned at its next `checkpoint` (a frame of
    Blender, a part of a video), or finishes if it has none; or `hand_back`: it is returned at once. Another miner goes on from its last checkpoint.
    Nobody is blamed, but many returned jobs in a short time pause the miner for a while."""
    max_temperature: Annotated[float, Field(gt=0, le=150)] | None = None
    """Temperature in degrees Celsius above which a GPU accepts no more jobs. None: the driver throttles a card that is too hot."""
    temperature_margin: Annotated[float, Field(ge=0, le=100)] = 5
    """How many degrees the temperature must fall below the limit before the GPU accepts jobs again."""
    max_power: Annotated[float, Field(gt=0)] | None = None
    """Power in watts above which a GPU accepts no more jobs. None: the card's own limit applies."""
    power_margin: Annotated[float, Field(ge=0)] = 20
    """How many watts the power must fall below the limit before the GPU accepts jobs again."""
    hold_seconds: Annotated[float, Field(ge=0)] = 60
    """How long other programs, heat or power must have ceased before work resumes, so that the GPU does not alternate between the
    two."""


class GpuPauseSettings(Section):
    """The same settings for one GPU. They override `miner.pause`; an empty schedule overrides it too."""

    schedule: tuple[ScheduleWindow, ...] | None = None
    """Times of the week at which this GPU is paused. None: those of `miner.pause`; the same holds for the settings below."""
    faulty: bool | None = None
    """Whether the GPU is paused when it is faulty."""
    other_programs: bool | None = None
    """Whether the GPU is paused while another program uses it."""
    other_utilization: Annotated[float, Field(gt=0, le=100)] | None = None
    """Utilisation in percent above which programs that only draw count as using the GPU."""
    other_memory: Bytes | None = None
    """Memory of the GPU from which one program counts as using it."""
    running_jobs: RunningJobs | None = None
    """What happens to the job that runs on the GPU when another program uses it."""
    max_temperature: Annotated[float, Field(gt=0, le=150)] | None = None
    """Temperature in degrees Celsius above which the GPU accepts no more jobs."""
    temperature_margin: Annotated[float, Field(ge=0, le=100)] | None = None
    """How many degrees the temperature must fall below the limit."""
    max_power: Annotated[float, Field(gt=0)] | None = None
    """Power in watts above which the GPU accepts no more jobs."""
    power_margin: Annotated[float, Field(ge=0)] | None = None
    """How many watts the power must fall below the limit."""
    hold_seconds: Annotated[float, Field(ge=0)] | None = None
    """How long the cause must have ceased."""


Watts = Annotated[float, Field(gt=0, le=10_000)]


class GpuSettings(Section):
    """Settings of a single GPU."""

    pause: GpuPauseSettings = GpuPauseSettings()
    power_limit: Watts | None = Field(default=None, examples=[280])
    """Power in watts that this GPU may take. None: that of `miner.energy`; the same holds for the next setting."""
    power_limits: dict[ScheduleWindow, Watts] = Field(
        default={}, examples=[{ScheduleWindow("22:00-06:00"): 200}]
    )
    """Other limits at times of the week."""


def _check_gpu_name(name: str) -> str:
    if re.fullmatch(r"\d{1,3}|GPU-[0-9a-fA-F-]{1,40}", name, re.ASCII) is None:
        raise ValueError(f'{name!r} names no GPU; write its index ("0") or its UUID ("GPU-...")')
    return name


GpuName = Annotated[str, AfterValidator(_check_gpu_name)]


KilowattHour = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]


def _check_url(url: str) -> str:
    if re.fullmatch(r"https?://[^\s/]+\S*", url) is None:
        raise ValueError('must be an address such as "https://example.org/price"')
    return url


Url = Annotated[str, AfterValidator(_check_url)]


def _check_log_key(log_key: str) -> str:
    try:
        parse_vkey(log_key)
    except FormatError as error:
        raise ValueError(f"is not the key of a log: {error}") from None
    return log_key


LogKey = Annotated[str, AfterValidator(_check_log_key)]


class ModelChoiceSettings(Section):
    """Whether the miner itself chooses models to download, by what is asked for and paid on its network."""

    auto: Literal["off", "show", "on"] = "off"
    """`on`: the model that would earn most here is downloaded, one at a time; with `miner.models_quota` or `miner.max_disk`, the least
    profitable ones that the agent has downloaded go for it, unless they are pinned or in use. `show`: it is only said which it would be."""
    least_jobs: Annotated[int, Field(ge=1)] = 20
    """Paid jobs of the last days without which a model is not downloaded: a few are chance."""
    least_days: Annotated[float, Field(ge=0)] = 3
    """How long a model stays at least that was downloaded, so that a day's fashion does not replace all of them."""


class EnergySettings(Section):
    """Electricity: what it costs, and which jobs are not worth it (docs/how-to/earnings.md). Prices are in the owner's currency."""

    price: KilowattHour | None = Field(default=None, examples=[0.3])
    """Price of a kilowatt-hour. None: consumption is measured but not priced, unless one of the next two settings has a price."""
    tariff: dict[ScheduleWindow, KilowattHour] = Field(
        default={}, examples=[{ScheduleWindow("22:00-06:00"): 0.18}]
    )
    """Other prices at times of the week, in local time, e.g. of a night tariff. The first window that contains the time applies."""
    price_url: Annotated[
        Url | None, Field(examples=["https://prices.example.org/now"], json_schema_extra={HIDDEN: True})
    ] = None
    """An address that answers with the current price: a number, or JSON that contains one. It takes precedence over the prices above,
    which apply until its first answer. If it fails, the last answer remains."""
    price_path: str = Field(default="", examples=["data.0.price"])
    """Where the number is in the JSON: keys and positions, separated by dots. Empty: the answer itself is the number."""
    price_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    """What the number is multiplied with: 0.001 for a price of a megawatt-hour."""
    price_seconds: Annotated[float, Field(ge=10)] = 900
    """How often the address is asked. Exchanges change their prices each quarter of an hour at most."""
    price_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 10
    """Time limit for its answer."""
    currency: Currency | None = None
    """Name of the owner's currency, for display."""
    credit_value: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    """What one credit is worth in the owner's currency."""
    rest_watts: Annotated[float, Field(ge=0, le=100_000)] = 0
    """Power of the machine without its cards and, if the kernel reports it, its processors. Jobs that run at the same time share it. Zero: only
    what is measured counts."""
    processor_watts: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """Power of the processors while a job runs on them, for machines whose kernel does not let the agent read it (RAPL). None: the energy of
    such jobs is that of the rest, or unknown."""
    idle_costs: bool = False
    """Whether electricity without jobs counts too. Off, for machines that are on anyway; on, for those that run for this work alone."""
    minimum_profit: Money | None = Field(default=None, examples=[Money("0.05")])
    """Credits that must be left of an hour's work of a device after its electricity. A model that has earned less here, at the prices of now, accepts
    no jobs until they have changed. None: accept jobs at a loss too. A model's consumption is known after three jobs."""
    power_limit: Watts | None = Field(default=None, examples=[280])
    """Power in watts that each GPU may take, unless `miner.gpus` has one for it. It is set by a helper that runs as root (`aitbc-agent service install
    --power-limits`) and restored when the agent ends. `aitbc-agent efficiency` finds the limit with the most work for a kilowatt-hour.
    None: the GPU's own limit."""
    power_limits: dict[ScheduleWindow, Watts] = Field(
        default={}, examples=[{ScheduleWindow("22:00-06:00"): 200}]
    )
    """Other limits at times of the week, in local time. The first window that contains the time applies."""
    power_helper: Path = Path("/run/aitbc-power/socket")
    """The helper's socket."""
    report: bool | None = None
    """Whether the coordinator gets these figures, for the machine's page on the dashboard. None: only if this agent runs its coordinator itself, since
    the operator of another one could use them in setting prices."""
    history_jobs: Annotated[int, Field(ge=0, le=10_000_000)] = 10_000
    """Number of jobs whose figures are stored. Those of days and months are stored for ever."""


class NoticeSettings(Section):
    """Messages to the owner when a GPU is lost, faulty, hot or slowed down, or the machine earns nothing or gets no jobs any more.

    Each event is notified once; `aitbc-agent notices` sends one to try (docs/how-to/earnings.md).
    """

    webhook: Annotated[
        Url | None, Field(examples=["https://hooks.example.org/..."], json_schema_extra={HIDDEN: True})
    ] = None
    """An address that gets each notice as JSON, in the form of Slack, Mattermost, Discord or Telegram."""
    command: tuple[str, ...] = Field(default=(), examples=[["mail", "-s", "AITBC", "me@example.org"]])
    """A program with its arguments that gets each notice as its input. As a system service, the agent cannot run programs that change their user
    or group, such as Postfix's sendmail; msmtp and curl work."""
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 30
    """Time limit for each of them. A notice that cannot be sent is sent again after a minute."""
    hold_seconds: Annotated[float, Field(ge=0)] = 60
    """How long a condition must last. Drivers and connections are away briefly whenever they are updated."""
    quiet_hours: Annotated[float, Field(ge=0)] = 12
    """How long an event that comes and goes is not notified again."""
    hot_celsius: Annotated[float, Field(gt=0, le=150)] | None = 90
    """Temperature in degrees Celsius from which a GPU is hot; most cards slow down between 83 and 95. None: no such notice."""
    summary: Literal["off", "daily", "weekly"] = "off"
    """Whether a summary of each day or week (from Monday to Sunday) is sent in the same ways: what was earned, used and failed, how long the machine
    was away, and updates. `aitbc-agent summary` prints it."""
    summary_hour: Annotated[int, Field(ge=0, le=23)] = 8
    """Hour of the day, in local time, from which the summary is sent."""
    idle_hours: Annotated[float, Field(gt=0)] | None = 24
    """After so many hours without a completed job, apart from pauses by hand and by schedule, the machine earns nothing. None: no such notice."""


class SelftestSettings(Section):
    """Self-tests of the running miner, which accepts no jobs meanwhile (docs/how-to/miners.md). Their result is part of what it announces."""

    interval_days: Annotated[float, Field(ge=0, le=3650)] = 7
    """Days from one self-test to the next; the first one comes as soon as the machine is idle. Zero: only `aitbc-agent selftest` tests."""
    minutes: Annotated[float, Field(gt=0, le=1440)] = 1
    """Minutes of load. The rest of the test takes up to three more, most of it for a job of each service."""
    idle_minutes: Annotated[float, Field(ge=0)] = 10
    """How long before there must have been neither a job nor a pause nor another program on a GPU."""


Rate = Annotated[Bytes, Field(ge=2**14)]


class NetworkSettings(Section):
    """Limits of the network for models and for the files of jobs. Rates are in bytes per second ("2Mi"), and all transfers share them."""

    download_rate: Rate | None = Field(default=None, examples=[Bytes("4Mi")])
    """Bytes per second for downloads. None: no limit. Engines are installed by uv, which knows no limit."""
    download_rates: dict[ScheduleWindow, Rate] = Field(
        default={}, examples=[{ScheduleWindow("18:00-23:00"): Bytes("512Ki")}]
    )
    """Other rates at times of the week, in local time. The first window that contains the time applies."""
    upload_rate: Rate | None = Field(default=None, examples=[Bytes("1Mi")])
    """Bytes per second for uploads. None: no limit."""
    upload_rates: dict[ScheduleWindow, Rate] = Field(
        default={}, examples=[{ScheduleWindow("18:00-23:00"): Bytes("256Ki")}]
    )
    """Other rates at times of the week."""
    monthly_data: Annotated[Bytes, Field(gt=0)] | None = Field(default=None, examples=[Bytes("200Gi")])
    """Bytes of a calendar month, down and up together. When they are used up, the machine pauses until the next month. None: no limit."""
    metered_downloads: bool = False
    """Whether models and engines are downloaded while NetworkManager knows or guesses that the connection is metered. Jobs run nevertheless."""


class SealingSettings(Section):
    """Sealed jobs, whose input and results the coordinator cannot read (docs/how-to/seal-a-job.md)."""

    enabled: bool = True
    """Whether this miner publishes an encryption key and accepts sealed jobs."""
    directory: HomePath = Path("/dev/shm")  # noqa: S108 - each agent creates a directory of its own there
    """A directory in memory (tmpfs) for the plaintexts of sealed jobs. Without one, the miner accepts no sealed jobs. What is in it counts
    as memory, so it limits the size of their files."""
    rotate_days: Annotated[float, Field(gt=0, le=3650)] = 30
    """Age in days at which a new encryption key replaces the newest one."""
    grace_days: Annotated[float, Field(ge=0, le=365)] = 7
    """How many days longer the older key opens jobs that were sealed to it and still wait."""
    attestation: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")] = "none"
    """Plug-in of the group `aitbc.attestations` that attests this machine's state. `none`: no attestation, so clients know that its owner
    could read the memory of sealed jobs."""


@extensible("miner")
class MinerSettings(Section):
    """The miner: which coordinator it works for, what it offers, and how it stops."""

    coordinator: Annotated[str | None, Field(examples=["https://coordinator.example.org"])] = None
    """URL of the coordinator to join. None: this agent starts one of its own."""
    name: Annotated[str | None, Field(examples=["rig-1"])] = None
    """Name of this miner in lists. None: the host name, and the beginning of the miner's id."""
    enrolment_token: Annotated[
        str | None, Field(examples=["enrol_..."], json_schema_extra={HIDDEN: True})
    ] = None
    """Token for joining; needed once."""
    log_key: Annotated[
        LogKey | None,
        Field(examples=["log.example.org+c045b35e+AfZhEtpcgemX5SvE2yX/sWDCbHsRIMgu1/7VLZBAYbni"]),
    ] = None
    """Public key of the coordinator's log, which `aitbc-agent join` writes: the miner refuses a coordinator with another key. None: any key."""
    slots: Annotated[int, Field(ge=1, le=256)] | None = None
    """Number of jobs at the same time. None: one per GPU; without GPUs one, or on a Ray cluster one per node."""
    executor: Literal["local", "ray"] = "local"
    """Where jobs run: on this machine, or on the nodes of a Ray cluster (docs/how-to/clusters.md), whose GPUs this miner then offers."""
    prices: dict[str, Money] = Field(default={}, examples=[{"whisper_transcription": Money("0.0002")}])
    """Price per metered unit by service id. Services that are not listed cost `default_price`."""
    default_price: Money | None = None
    """Price per metered unit of services without a price of their own. None: a busy hour earns `hourly_earnings` at the speed that
    `aitbc-agent bench` has measured, or before that at the usual speed of a machine without a GPU."""
    batch_price: Annotated[float, Field(ge=0, le=1)] | None = Field(default=None, examples=[0.7])
    """The lowest share of a price for which jobs of batches run here, which have the lowest priority and fill idle hours. The coordinator may
    pay more, never less. None: 0.5 of default prices, and all of the prices that you have set."""
    hourly_earnings: Money = Money("0.25")
    """What a busy hour of this machine earns at default prices and at those that `aitbc-agent bench` suggests. The default is roughly the
    hourly rent of a consumer card, if credits were dollars."""
    drain_seconds: Annotated[float, Field(ge=0)] = 30
    """How long a stop waits for running jobs before it returns them to the coordinator."""
    load_seconds: Annotated[float, Field(gt=0)] = 600
    """Time limit for loading a model that is on disk."""
    stall_seconds: Annotated[float, Field(gt=0)] = 300
    """A runner that reports no progress for this long counts as hung and is ended and replaced."""
    probe_seconds: Annotated[float, Field(gt=0)] = 20
    """How long a start waits for the probe of a service, which finds out whether it works. A slower probe goes on meanwhile, and its
    service is offered as soon as it succeeds: on a busy machine it may take minutes."""
    cancel_seconds: Annotated[float, Field(ge=0)] = 1
    """How long a cancelled runner may take to stop before it is terminated, then killed. If its process has other runs, it may take
    as long as they do, for at most `stall_seconds`."""
    idle_seconds: Annotated[float, Field(gt=0)] = 300
    """How long the child process of a runner stays loaded without work."""
    placement_wait_seconds: Annotated[float, Field(ge=0)] = 60
    """How long a claimed job waits for free memory on a device before it is returned for another miner."""
    child_memory: Bytes | None = None
    """Main memory that one runner process may use before it is ended. None: nine tenths of the machine's memory."""
    vram_reserve: Bytes = Bytes("512Mi")
    """Memory of every GPU that stays free for its owner. When other programs need it, idle models are unloaded."""
    auditor: bool = False
    """Whether this miner is an auditor only: it gets audit jobs and no others."""
    max_outbox: Annotated[int, Field(ge=1)] = 1000
    """Number of finished jobs that may wait for the coordinator; at this number the miner claims no new jobs."""
    max_job_log: Bytes = Bytes("64Ki")
    """Maximum size of what one run may write to its job's log; each line counts 32 bytes in addition to its text. Of more, the
    beginning and the end are sent. The coordinator has a limit of its own."""
    models_quota: Annotated[Bytes, Field(gt=0)] | None = None
    """Maximum total size of the models on disk. Beyond it, the models that the agent downloaded are deleted, least recently used
    first. None: only the disk is the limit, and no model is ever deleted."""
    max_downloads: Annotated[int, Field(ge=1, le=64)] = 4
    """Jobs that may wait for the download of their model without occupying a slot. Further ones occupy one."""
    download_stall_seconds: Annotated[float, Field(gt=0)] = 15
    """A connection that brings no byte of a model for this time is replaced. After three in succession the jobs that wait for
    the model fail, and others of the same server fail immediately for half a minute."""
    max_disk: Annotated[Bytes, Field(gt=0)] | None = Field(default=None, examples=[Bytes("200Gi")])
    """Maximum of all that the agent stores: models, engines, caches with the environments of Python models, and its data directory. Beyond it,
    caches, environments and models that the agent downloaded are deleted, least recently used first, and no further model is downloaded.
    None: only the disk is the limit."""
    models_pinned: tuple[str, ...] = ()
    """Names of models that are never deleted to free space."""
    gpu_poll_seconds: Annotated[float, Field(gt=0)] = 10
    """How often a miner without a GPU checks whether the driver reports one, and every miner whether engines were installed or
    removed. A check takes a millisecond. After such a change the miner finishes its running jobs, then determines its capabilities again."""
    transport: Literal["auto", "websocket", "poll"] = "auto"
    """How to communicate with the coordinator: the WebSocket, long polls, or (`auto`) the WebSocket with long polls as the
    fallback."""
    remote_settings: bool | None = None
    """Whether prices, the schedule and the preferred engines may be changed from the coordinator, as on the dashboard, and models
    removed. A changed setting is written to the settings file. None: only if this agent runs its coordinator itself, since the operator
    of another one could do so too (docs/explanation/threat-model.md). False also forbids any coordinator to have models fetched in
    advance; models of jobs are fetched as before."""
    pause: PauseSettings = PauseSettings()
    gpus: dict[GpuName, GpuSettings] = Field(
        default={}, examples=[{"0": GpuSettings(pause=GpuPauseSettings(max_temperature=80))}]
    )
    """Settings of single GPUs, by index ("0") or UUID ("GPU-...", or its beginning), e.g. `[miner.gpus.0.pause]`."""
    metrics_port: Annotated[int | None, Field(ge=0, le=65535, examples=[9420])] = None
    """Port on which Prometheus reads this miner's metrics (docs/reference/metrics.md); 0 picks a free one, which `aitbc-agent status --json`
    shows. None: no port is opened, since a miner needs none to work, and two miners on one machine would want the same one."""
    metrics_host: str = "127.0.0.1"
    """Address of that port. Access needs no key: anyone who reaches the port can read what this machine does and earns, so the
    default is loopback."""
    inputs: InputSettings = InputSettings()
    network: NetworkSettings = NetworkSettings()
    sealing: SealingSettings = SealingSettings()
    models: ModelChoiceSettings = ModelChoiceSettings()
    energy: EnergySettings = EnergySettings()
    notices: NoticeSettings = NoticeSettings()
    selftest: SelftestSettings = SelftestSettings()


class RunnersSettings(Section):
    """Programs and limits of the runners."""

    ffmpeg: str = "ffmpeg"
    """The ffmpeg program, as a name on PATH or a path."""
    ffprobe: str = "ffprobe"
    """The ffprobe program."""
    blender: str | None = None
    """The Blender program, or the Python of an environment with the package bpy, as a name on PATH or a path. None: the engine bpy if
    it is installed (`aitbc-agent engines install bpy`), otherwise `blender`. Debian's package renders on the CPU only; bpy and
    Blender's own build support CUDA and OptiX."""
    nvenc_sessions: Annotated[int, Field(ge=1, le=1000)] = 8
    """Number of videos that are encoded on this machine's GPUs at the same time; a further one is encoded on the CPU. The default
    is what NVIDIA's drivers allow on GeForce cards since 2024 (before: 5); workstation and data center cards have no limit."""
    bubblewrap: str = "bwrap"
    """The bubblewrap program, which isolates programs that read strangers' files."""
    sandbox: Literal["auto", "bubblewrap", "landlock", "off"] = "auto"
    """How programs that read strangers' files are isolated (docs/explanation/sandbox.md). `auto`: bubblewrap, or Landlock where bubblewrap
    does not work, as in most containers. `bubblewrap` and `landlock` require that one: without it no service is offered.
    `off` is for machines that isolate the whole agent by other means."""
    sandbox_first_user: Annotated[int, Field(ge=1000, le=2**31)] = 58_000
    """First of the user ids for sandboxed programs when the agent runs as root; each run then has a user of its own. The first id
    is the group that they all share. The default is outside the ranges that Debian and systemd assign, and within what
    containers usually have."""
    sandbox_users: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """Number of these user ids. At most this number less one of sandboxed programs can run at the same time."""
    max_memory: Bytes = Bytes("8Gi")
    """Memory of one sandboxed run: all its processes and their shared memory together. A job that requests more
    (`resources.memory`) fails."""
    max_output: Bytes = Bytes("10Gi")
    """Disk space of one sandboxed run: all files that it writes, both scratch files and results. A file counts with its apparent
    size, since a sparse file is stored with its holes."""
    max_file: Bytes = Bytes("8Gi")
    """Maximum size of a single file that a sandboxed run may write: two hours of video at 8 Mbit/s take 6.7 GiB."""
    max_files: Annotated[int, Field(ge=1)] = 20_000
    """Maximum number of files and directories that a sandboxed run may write. Each check of its disk space visits all of them."""
    max_depth: Annotated[int, Field(ge=1, le=400)] = 100
    """How deep a sandboxed run may nest directories; each level takes two file descriptors of a check. Real archives have fewer than 30
    levels."""
    max_processes: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of processes and threads of one Python model. None: 128, and 2 for each processor of the machine, since numerical
    libraries start a thread for each."""
    max_unpacked: Bytes = Bytes("2Gi")
    """Maximum size of the unpacked archive of a client's Python model. It also counts against `max_output`."""
    max_picture_pixels: Annotated[int, Field(ge=1)] = 64_000_000
    """Maximum number of pixels of all pictures in the messages of one request to a language model. They are decoded one after the other,
    and the model gets at most 4 million pixels of each; a larger number costs processor time only."""
    max_environment: Bytes = Bytes("16Gi")
    """Disk space for the requirements of one Python model: the environment and the packages downloaded for it. PyTorch with CUDA
    takes about 14 GiB for both."""
    environments_quota: Annotated[Bytes, Field(gt=0)] = Bytes("48Gi")
    """Disk space for the environments of all Python models and the packages cached to create them. The least recently used are
    deleted first, so that `max_environment` is free for the next one."""
    batch: Annotated[int, Field(ge=1, le=256)] | None = None
    """Maximum number of language model requests for one model that are computed together in the slot of one job. By default 64 on
    a machine with GPUs, 8 on others."""
    model_download: bool = True
    """Whether models that are not on disk may be downloaded when a job needs them."""
    python_models: bool = True
    """Whether to run clients' own Python models (always inside the sandbox)."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 30
    """Interval between the checkpoints of a transcription or a transcoding, from which another miner can resume. It is the most
    work that is lost with a machine; each checkpoint is an upload. Shorter jobs store none."""
    python_models_in_landlock: bool = False
    """Whether to run Python models in the Landlock sandbox too. It hides less of the machine (docs/explanation/sandbox.md), and a Python model
    is code that a stranger wrote; the other services start only programs of yours."""


class EnginesSettings(Section):
    """Engines in environments of their own, which `aitbc-agent engines install` creates."""

    directory: HomePath | None = Field(default=None, examples=["/srv/engines"])
    """Directory of these environments. None: `engines` in `cache_dir`."""
    preferred: tuple[str, ...] = Field(default=(), examples=[["faster-whisper"]])
    """Engines that run in their own environment even though the agent's own environment has them too."""
    variant: Literal["auto", "cpu", "cuda", "vulkan"] = "auto"
    """Which packages are installed: those for the CPU, those for NVIDIA cards, or those for cards of any maker. `auto`: for the cards that are
    there."""
    software_devices: bool = False
    """Whether Vulkan devices that are programs, such as Mesa's llvmpipe, count as cards, if GGML_VK_VISIBLE_DEVICES names them. They are slower than the
    processor itself: for tests of the agent on machines without a card."""
    check_seconds: Annotated[float, Field(gt=0)] = 900
    """Time limit for the check of an engine after its installation. vLLM loads a tiny model, for which it compiles kernels."""
