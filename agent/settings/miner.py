"""Settings of the miner and of the programs that do its work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent.core.quantities import Bytes, Money
from agent.settings._section import Section


class InputSettings(Section):
    """What a miner fetches for its jobs. Inputs come from strangers."""

    max_size: Bytes = Bytes("10Gi")
    """Largest input file."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 1800
    """Longest download."""
    allow_http: bool = False
    """Whether `http://` addresses are fetched too. Off: anybody on the way could change them."""
    allow_private: bool = False
    """Whether private, loopback and link-local addresses are fetched. Off: strangers would reach into your network."""
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 5
    """How many redirects are followed; each target is checked like the first."""


class MinerSettings(Section):
    """The miner: whom it works for, what it offers, how it ends its work."""

    coordinator: str | None = None
    """URL of the coordinator to join. None starts one inside this agent."""
    name: str | None = None
    """How this miner is called in lists. None takes the host's name."""
    enrolment_token: str | None = None
    """Token for joining, needed once."""
    slots: Annotated[int, Field(ge=1, le=256)] | None = None
    """Jobs at the same time. None: one per GPU, one on a machine without."""
    prices: dict[str, Money] = Field(default={})
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
    sandbox: Literal["required", "off"] = "required"
    """`required`: no service without its sandbox. `off` is for machines that isolate the whole agent by other means."""
    max_memory: Bytes = Bytes("8Gi")
    """Memory limit of one sandboxed program."""
    max_output: Bytes = Bytes("20Gi")
    """Largest file that a sandboxed program may write."""
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """How many language model requests for one model are computed together, in one place for one job."""
    model_download: bool = True
    """Whether models that are not on disk may be downloaded when a job needs them."""
    python_models: bool = True
    """Whether clients' own Python models are run (always inside the sandbox)."""
