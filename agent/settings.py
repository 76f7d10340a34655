"""All settings of the agent, and the one place that reads them.

Defaults < TOML file (`--config`, else `agent.toml` in the data directory) < environment (`AITBC_`, `__` for nesting) <
flags. Settings are frozen after loading; an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import os
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from agent.core.errors import ConfigurationError
from agent.core.quantities import Bytes, Money
from agent.core.rates import NetworkSetting, Rate


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RateLimitSettings(_Section):
    """How often callers may call. Each budget is a number of requests per span of time; over it there is 429 with Retry-After."""

    enabled: bool = True
    """Whether calls are counted at all."""
    client: Rate = Rate(1000, 10)
    """Calls with one API key: a hundred a second for long, and a thousand at once."""
    uploads: Rate = Rate(600, 60)
    """Files that one API key begins to upload. The parts of a resumable upload count as ordinary calls."""
    miner: Rate = Rate(2000, 10)
    """Polls, files and connections of one miner's session, far above what a busy miner needs. Heartbeats, results, events and the
    like are never refused, over HTTP no more than over the WebSocket, so that no limit costs a miner its work."""
    address: Rate = Rate(600, 60)
    """Calls without a valid key from one IPv4 address or IPv6 /64: the registry, the log, pages."""
    failures: Rate = Rate(20, 60)
    """Wrong API keys from one address. Beyond it, only keys that were valid lately are listened to from there."""
    joining: Rate = Rate(300, 60)
    """Challenges and registrations from one address: a site of a hundred miners that all start at once, with some retries."""
    checking: Rate = Rate(120, 60)
    """Receipts, cosignatures and requests that one address has checked without a key; each costs signatures or schemas."""
    connections: Rate = Rate(120, 60)
    """WebSockets that one address opens without a valid key in the handshake."""
    unlimited: tuple[NetworkSetting, ...] = (ip_network("127.0.0.0/8"), ip_network("::1"))
    """Networks whose callers with a valid key, and whose miners, are not counted. The default is this machine: its programs have
    the owner's keys and share the owner's processors anyway. Calls that a proxy has forwarded are counted even so."""
    max_tracked: Annotated[int, Field(ge=100)] = 100_000
    """Callers that are remembered at the same time, about 300 bytes each; beyond it the oldest are forgotten."""


class WebhookSettings(_Section):
    """Messages to clients' own servers about jobs that have ended (docs/webhooks.md)."""

    allow_http: bool = False
    """Whether `http://` addresses may be named. Off: anybody on the way could read and suppress the messages."""
    allow_private: bool = False
    """Whether private, loopback and link-local addresses are sent to. Off: strangers would make calls inside your network."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 15
    """Longest attempt, from the look-up of the name to the answer; the Standard Webhooks specification advises 15 to 30."""
    retry_delays: tuple[Annotated[float, Field(gt=0, le=604_800)], ...] = (
        5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400,
    )  # fmt: skip
    """Pauses after failed attempts, in seconds; each becomes up to a fifth longer. One attempt more than there are pauses is made:
    ten within about three days and a half, as the specification advises, so that a receiver may be down over a weekend."""
    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 64
    """Attempts that are under way at the same time."""
    max_per_account: Annotated[int, Field(ge=1)] = 16
    """Of these, for one account, so that its slow receivers leave room for the others'."""
    max_per_host: Annotated[int, Field(ge=1)] = 4
    """Of these, from one account to one host."""
    secret_overlap_seconds: Annotated[float, Field(ge=0)] = 86_400
    """How long messages are signed with the old secret too after a new one was made."""
    kept_seconds: Annotated[float, Field(gt=0)] = 30 * 86_400
    """How long finished messages can be looked at."""


class StreamSettings(_Section):
    """Who follows what happens: `/ws` and the events of a job. See docs/streams.md."""

    queue: Annotated[int, Field(ge=1)] = 1024
    """Messages that wait for one client before it counts as too slow: ten seconds of a fast language model's tokens."""
    queue_size: Bytes = Bytes("4Mi")
    """Bytes that wait for one client: a hundred previews."""
    kept: Annotated[int, Field(ge=0)] = 20_000
    """How many of the newest tokens, previews and progress messages are kept in memory for clients whose connection broke."""
    kept_size: Bytes = Bytes("32Mi")
    """Bytes of these in all."""
    connections_per_key: Annotated[int, Field(ge=1)] = 256
    """Streams of all kinds that one key may have open at a time; each costs a socket and up to `queue_size`."""
    max_message: Bytes = Bytes("64Ki")
    """Largest message that a client may send on `/ws`; room for `max_job_ids`."""
    max_job_ids: Annotated[int, Field(ge=1)] = 1000
    """How many jobs a filter may name."""
    auth_seconds: Annotated[float, Field(gt=0)] = 10
    """How long `/ws` waits for the key when it comes as the first message."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 15
    """After so long without a message `/ws` says that it is still there; below the idle limits of common proxies."""
    send_seconds: Annotated[float, Field(gt=0)] = 60
    """A client that takes nothing for so long is disconnected. It can resume."""
    key_check_seconds: Annotated[float, Field(gt=0)] = 2
    """How often the key of an open stream is looked at again, so that a revoked one ends it."""


class CoordinatorSettings(_Section):
    """The coordinator: where it listens, what it accepts, how long its promises last."""

    host: str = "127.0.0.1"
    """Address to listen on. The default is loopback, since a coordinator without TLS should not face a network."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8420
    """TCP port; 0 takes a free one, which `agent.json` then names."""
    environment: str = "production"
    """What the health answer calls this installation."""
    origin: str | None = None
    """Name of the log in receipts and checkpoints. None derives one from the log's key, so that it never changes."""
    log_checkpoint_seconds: Annotated[float, Field(ge=0.1, le=1)] = 0.5
    """How often new leaves of the log get their numbers and a signed checkpoint. Until then a receipt has no proof; more often
    costs a synced write each time."""
    witnesses: tuple[str, ...] = ()
    """Public keys (vkeys of type 4) of the witnesses whose cosignatures of checkpoints are taken and served."""
    open_enrolment: bool = False
    """Whether unknown miners may register without an enrolment token."""
    lease_seconds: Annotated[float, Field(gt=0)] = 60
    """How long a lease lives without a heartbeat: four heartbeats, so that a lost packet or a pause costs nothing."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 15
    """How often miners are told to send their heartbeat."""
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 30
    """Longest wait of a long poll; below the idle limits of common proxies."""
    input_wait_seconds: Annotated[float, Field(gt=0)] = 3600
    """How long a job waits for files that its client still has to upload before it fails with INPUT_MISSING."""
    default_max_cost: Money = Money("1.00")
    """`pricing.max_cost` of a job that does not name one."""
    fee_percent: Annotated[Decimal, Field(ge=0, le=100, decimal_places=4)] = Decimal(0)
    """What the operator keeps of every price, in percent. It is fixed for a job when the job is submitted."""
    local_credit: Money = Money("1000")
    """What the agent's own client account is credited with when it is made; money of this coordinator only."""
    events_kept_seconds: Annotated[float, Field(gt=0)] = 7 * 86_400
    """How long changes are kept for clients that come back and ask what they have missed. A week outlasts a long weekend."""
    default_timeout_seconds: Annotated[int, Field(gt=0)] = 3600
    """Hard limit of one run of a job that does not name one, in seconds."""
    max_timeout_seconds: Annotated[int, Field(gt=0)] = 86_400
    """Longest `timeout_seconds` that a client may ask for."""
    default_max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How many runs a job may cost before it fails for the machines' faults."""
    max_body: Bytes = Bytes("4Mi")
    """Largest JSON body of a request."""
    max_artifact: Bytes = Bytes("20Gi")
    """Largest artifact."""
    max_stored: Bytes = Bytes("1Ti")
    """Most that one account may store in artifacts and unfinished uploads together: fifty files of the largest size."""
    max_uploads_per_account: Annotated[int, Field(ge=1)] = 100
    """How many unfinished resumable uploads one account may have, so that a client in a loop cannot fill the disk."""
    upload_seconds: Annotated[float, Field(gt=0)] = 86_400
    """How long an upload waits for its next bytes, and a finished one is remembered: a day, so that a night is no loss."""
    upload_silence_seconds: Annotated[float, Field(gt=0)] = 60
    """How long a request that uploads may send nothing before it is ended; what it brought is kept."""
    orphan_seconds: Annotated[float, Field(gt=0)] = 86_400
    """Age at which stored files that nothing refers to are removed. A crash leaves them; a day is longer than any upload takes
    between its file and its row."""
    link_seconds: Annotated[float, Field(gt=0)] = 3600
    """How long a signed link to an artifact is valid that does not name a time: an hour, so that a page can be read at ease."""
    max_link_seconds: Annotated[float, Field(gt=0)] = 7 * 86_400
    """Longest time that a signed link may be valid. Links cannot be withdrawn, so not longer than a week."""
    max_result: Bytes = Bytes("64Mi")
    """Largest result that a miner may send, without the output files (these are artifacts)."""
    allow_http_inputs: bool = False
    """Whether jobs may name `http://` addresses. Miners have their own setting and refuse them too by default."""
    allow_private_inputs: bool = False
    """Whether jobs may name addresses inside private networks."""
    answer_seconds: Annotated[float, Field(gt=0)] = 590
    """How long the OpenAI-compatible calls hold an answer for their job's end, and a stream for its next piece, before the job is
    cancelled. Just below the ten minutes after which these clients give up, so that they hear the reason."""
    answer_max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 1024
    """Longest answer in `/v1/chat/completions`, in tokens, where the request names no limit. Prompt and answer share the model's
    context, so a larger figure leaves less room for conversations."""
    max_offers_per_miner: Annotated[int, Field(ge=1)] = 100
    """How many offers of its own making one miner may have open, so that a miner in a loop cannot fill the market."""
    max_offer_seconds: Annotated[int, Field(ge=1)] = 30 * 86_400
    """Longest duration of an offer. A month: a price that nobody looked at for longer is hardly meant any more."""
    offer_wait_seconds: Annotated[float, Field(gt=0)] = 900
    """How long a job that accepted an offer waits for a miner that is away before any other miner may take it. A reboot with
    an update of the driver lasts less."""
    max_jobs_per_account: Annotated[int, Field(ge=1)] = 10_000
    """How many unfinished jobs one account may have, so that a client in a loop cannot fill the queue."""
    trusted_proxies: tuple[NetworkSetting, ...] = ()
    """Addresses or networks of reverse proxies. Only from them are X-Forwarded-For and X-Forwarded-Proto believed; from anybody
    else they could be made up, and each made-up address would have a budget of its own."""
    rate_limits: RateLimitSettings = RateLimitSettings()
    webhooks: WebhookSettings = WebhookSettings()
    streams: StreamSettings = StreamSettings()


class DatabaseSettings(_Section):
    """Where the coordinator keeps jobs, receipts and accounts."""

    url: str | None = None
    """SQLAlchemy URL. None is a SQLite file in the data directory."""
    readers: Annotated[int, Field(ge=1, le=64)] = 4
    """Connections for reading beside the one that writes."""
    max_batch: Annotated[int, Field(ge=1)] = 256
    """How many writes may share one transaction (group commit)."""
    max_queue: Annotated[int, Field(ge=1)] = 10_000
    """How many writes may wait; beyond that requests get 503 with Retry-After."""


class InputSettings(_Section):
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


class MinerSettings(_Section):
    """The miner: whom it works for, what it offers, how it ends its work."""

    coordinator: str | None = None
    """URL of the coordinator to join. None starts one inside this agent."""
    name: str | None = None
    """How this miner is called in lists. None takes the host's name."""
    enrolment_token: str | None = None
    """Token for joining, needed once."""
    slots: Annotated[int, Field(ge=1, le=256)] | None = None
    """Jobs at the same time. None: one per GPU, one on a machine without."""
    prices: dict[str, Money] = {}
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
    transport: Literal["auto", "websocket", "poll"] = "auto"
    """How to speak to the coordinator: the WebSocket, long polls, or the first with the second as a fallback."""
    inputs: InputSettings = InputSettings()


class RunnersSettings(_Section):
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


class LogSettings(_Section):
    """What the agent logs, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text on a terminal, JSON elsewhere (systemd, containers)."""


class Settings(BaseSettings):
    """All settings. Load them with `load_settings`, which explains what is wrong with bad ones."""

    model_config = SettingsConfigDict(
        env_prefix="AITBC_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("aitbc-agent"))
    """Identity, database, artifacts and unsent results: what must not be lost."""
    models_dir: Path = Field(default_factory=lambda: platformdirs.user_cache_path("aitbc") / "models")
    """Models on disk, shared by every agent of a user; can be downloaded again."""
    cache_dir: Path = Field(default_factory=lambda: platformdirs.user_cache_path("aitbc"))
    """Other things that can be made again: environments of Python models."""
    coordinator: CoordinatorSettings = CoordinatorSettings()
    database: DatabaseSettings = DatabaseSettings()
    miner: MinerSettings = MinerSettings()
    runners: RunnersSettings = RunnersSettings()
    log: LogSettings = LogSettings()

    _toml_file: Path | None = PrivateAttr(default=None)

    @property
    def agent_file(self) -> Path:
        """Where a running agent says how to reach it (mode 0600)."""
        return self.data_dir / "agent.json"


# Variables of the SDK, which share our prefix without being settings of the agent.
_FOREIGN_VARIABLES = frozenset({"AITBC_API_KEY", "AITBC_BASE_URL"})


def load_settings(config: Path | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Read the settings.

    `config` is a TOML file; without one, `agent.toml` in the data directory is read if it is there. `flags` are nested
    values from the command line and win over everything. Raises `ConfigurationError` with one line per fault.
    """
    flags = flags or {}
    _check_environment()
    path = config or _default_config(flags)
    if config is not None and not config.is_file():
        raise ConfigurationError(f"There is no configuration file {config}.")
    try:
        return _settings_class(path)(**flags)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(fault) for fault in error.errors())) from None
    except ValueError as error:  # TOML that does not parse, JSON in an environment variable that does not
        raise ConfigurationError(f"The configuration cannot be read: {error}") from None


def _check_environment() -> None:
    known = {f"AITBC_{key.replace('.', '__').upper()}" for key in known_keys()} | _FOREIGN_VARIABLES
    for name in sorted(os.environ):
        if name.startswith("AITBC_") and name not in known and not name.startswith("AITBC_MINER__PRICES__"):
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigurationError(f"The environment variable {name} names no setting.{hint}")


def _default_config(flags: dict[str, Any]) -> Path:
    data_dir = flags.get("data_dir") or _DataDirectory().data_dir
    return Path(data_dir) / "agent.toml"


class _DataDirectory(BaseSettings):
    """Only the data directory, which must be known before the file in it can be read."""

    model_config = SettingsConfigDict(env_prefix="AITBC_", extra="ignore")
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("aitbc-agent"))


def _settings_class(path: Path) -> type[Settings]:
    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    return Loaded


def _explain(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] != "extra_forbidden":
        return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.5)
    return f"{key}: there is no such setting." + (f" Did you mean {near[0]}?" if near else "")


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Dotted names of all settings."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys
