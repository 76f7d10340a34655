"""Settings of the coordinator."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from agent.core.values.networks import NetworkSetting
from agent.core.values.quantities import Bytes, Money
from agent.sections import HIDDEN, Section, extensible
from aitbc.statement import CLOCK_SKEW_SECONDS


class ConnectionSettings(Section):
    """Connections to the coordinator: how many there may be, and how long they may keep it waiting (docs/reference/limits.md)."""

    maximum: Annotated[int, Field(ge=1)] = 10_000
    """Connections in total. The limit is lower where the process may open fewer files: half of what `reserved_descriptors` leaves."""
    per_address: Annotated[int, Field(ge=1)] = 256
    """Connections from one IPv4 address or IPv6 /64 that have not yet sent a valid key; when there are more, the oldest is closed.
    Callers with a key, such as the miners of a site behind one address, do not count."""
    per_account: Annotated[int, Field(ge=1)] = 1000
    """Connections of one account or miner, at most a quarter of the total. Further ones are treated like those without a key."""
    reserved_descriptors: Annotated[int, Field(ge=16)] = 192
    """File descriptors reserved for the database, files, the log and an embedded miner."""
    head_seconds: Annotated[float, Field(gt=0)] = 15
    """Time limit for the head of a request to arrive, from its first byte or from the start of the connection."""
    max_head: Bytes = Bytes("64Ki")
    """Maximum size of the head of a request: its path and headers."""
    body_seconds: Annotated[float, Field(gt=0)] = 30
    """Time that the coordinator waits for a body, in addition to the time that the body takes at `body_rate`."""
    body_rate: Annotated[int, Field(ge=1)] = 500
    """Lowest accepted transfer rate of a body, in bytes per second: a tenth of a dial-up modem's."""
    idle_seconds: Annotated[int, Field(ge=1)] = 75
    """How long a connection stays open after a response; longer than common proxies keep theirs (60 s), so that the proxies close
    first."""
    send_seconds: Annotated[float, Field(gt=0)] = 60
    """A client that reads none of its response for this long is disconnected. Streams and downloads can be resumed."""


class StreamSettings(Section):
    """Event streams: `/ws` and the events of a job (docs/reference/streams.md)."""

    queue: Annotated[int, Field(ge=1)] = 1024
    """Messages queued for one client before it counts as too slow: ten seconds of a fast language model's tokens."""
    queue_size: Bytes = Bytes("4Mi")
    """Bytes queued for one client: a hundred previews."""
    history: Annotated[int, Field(ge=0)] = 20_000
    """Number of recent tokens, previews and progress messages held in memory for clients that reconnect."""
    history_size: Bytes = Bytes("32Mi")
    """Total size of these messages."""
    queued_size: Bytes = Bytes("256Mi")
    """Bytes queued for all clients together; beyond this limit a client that lags behind counts as too slow."""
    connections_per_account: Annotated[int, Field(ge=1)] = 256
    """Streams of all kinds that the keys of one account or miner may have open together; each uses a socket and up to
    `queue_size`."""
    connections: Annotated[int, Field(ge=1)] = 4096
    """Streams of all accounts together, at most half of all connections."""
    max_message: Bytes = Bytes("64Ki")
    """Maximum size of a message that a client may send on `/ws`; enough for `max_job_ids`."""
    max_job_ids: Annotated[int, Field(ge=1)] = 1000
    """Maximum number of jobs in a filter."""
    auth_seconds: Annotated[float, Field(gt=0)] = 10
    """How long `/ws` waits for the key when the client sends it as the first message."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 15
    """`/ws` sends a heartbeat after this long without a message; shorter than the idle timeouts of common proxies."""
    send_seconds: Annotated[float, Field(gt=0)] = 60
    """A client that reads nothing for this long is disconnected. It can resume."""
    key_check_seconds: Annotated[float, Field(gt=0)] = 2
    """How often the key of an open stream is checked, so that revoking a key ends its streams."""


@extensible("coordinator")
class CoordinatorSettings(Section):
    """The coordinator: where it listens, what it accepts, and its limits."""

    host: str = "127.0.0.1"
    """Address to listen on. The default is loopback, since a coordinator without TLS should not be exposed to a network."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8420
    """TCP port; 0 picks a free one, which `agent.json` then contains."""
    hosts: tuple[Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9_.-]+)$", max_length=253)], ...] = ()
    """Host names under which clients reach the coordinator, without ports; `*.example.org` for all subdomains, `*` for any name.
    IP addresses, `localhost` and this machine's name are always accepted. Other names are refused when the coordinator
    listens on loopback only, or when this setting is not empty: a web page could point its own name at this address (DNS
    rebinding)."""
    public_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s/?#]+(/[^\s?#]*[^\s?#/])?$",
            max_length=500,
            examples=["https://jobs.example.org"],
        ),
    ] = None
    """The address under which clients and miners reach the coordinator, such as `https://jobs.example.org` or, if a proxy forwards
    only that path, `https://example.org/api`. `enroll`, login links and the URLs of generated images name it, and its host name is
    accepted as if `hosts` listed it. None: the address on which the coordinator listens, or that of the request."""
    cors_origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^\s/?#*]+)$", max_length=300)], ...] = (
        Field(default=(), examples=[["https://app.example.org"]])
    )
    """Origins of web pages, such as `https://app.example.org`, that may call the API and open WebSockets with an API key, in addition
    to the coordinator's own; `*` for any. Browsers never send them the dashboard's session."""
    environment: str = "production"
    """Name of this installation in the health response."""
    origin: str | None = None
    """Name of the log in receipts and checkpoints. None: derived from the log's key, so that it never changes."""
    open_enrolment: bool = False
    """Whether unknown miners may register without an enrolment token."""
    lease_seconds: Annotated[float, Field(gt=0)] = 60
    """How long a lease lives without a heartbeat: four heartbeats, so that a lost packet or a short interruption costs nothing."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 15
    """Interval at which miners send their heartbeat."""
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 30
    """Longest duration of a long poll; shorter than the idle timeouts of common proxies."""
    input_wait_seconds: Annotated[float, Field(gt=0)] = 3600
    """How long a job waits for its client to upload the missing files before it fails with INPUT_MISSING."""
    share_prompt_caches: bool = False
    """Whether miners may reuse for one account what they computed from the same prompt of another. Off, since the time of an answer would
    show each client which prompts others have sent. Where all accounts belong together, sharing saves time on common beginnings."""
    default_max_cost: Money = Money("1.00")
    """`pricing.max_cost` of jobs that do not set one."""
    fee_percent: Annotated[Decimal, Field(ge=0, le=100, decimal_places=4)] = Decimal(0)
    """The operator's share of every price, in percent. It is fixed for a job when the job is submitted."""
    local_credit: Money = Money("1000")
    """Initial balance of the agent's own client account; money of this coordinator only."""
    event_retention_seconds: Annotated[float, Field(gt=0)] = 7 * 86_400
    """How long events are retained for clients that reconnect and request what they missed. A week outlasts a long weekend."""
    job_retention_seconds: Annotated[float | None, Field(ge=3600, examples=[7_776_000])] = None
    """How long the data of ended jobs is stored: parameters, results, logs, labels and files that nothing else uses. Then it is deleted
    as if the client did; receipts, payments and the log remain. At least an hour, for results that are read late. None: until the client
    deletes it, because the coordinator cannot know who still needs a result."""
    default_timeout_seconds: Annotated[int, Field(gt=0)] = 3600
    """Time limit of one run of a job that does not set one, in seconds."""
    max_timeout_seconds: Annotated[int, Field(gt=0)] = 86_400
    """Highest `timeout_seconds` that a client may request."""
    default_max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Number of runs after which a job fails because of machine faults."""
    max_clock_skew_seconds: Annotated[float, Field(ge=0, le=CLOCK_SKEW_SECONDS)] = CLOCK_SKEW_SECONDS
    """How far the times in a miner's statement may lie before the assignment of its job or after its completion, by the
    coordinator's clock. Miners count from the lease's arrival and need no tolerance; five minutes cover a correction of the
    coordinator's own clock while jobs run. No more is possible: receipts beyond five minutes do not verify."""
    max_body: Bytes = Bytes("4Mi")
    """Maximum size of a JSON request body."""
    max_body_without_key: Bytes = Bytes("256Ki")
    """Maximum size of a request body without a valid key where none is needed: registrations, and receipts to verify. Of other
    request bodies without a key, the coordinator reads no more than this."""
    max_json_values: Annotated[int, Field(ge=1000)] = 1_000_000
    """Maximum number of values in the JSON of a miner or an administrator, since each takes about 60 bytes of memory. A 24-hour
    transcript with the time of every word has fewer."""
    max_request_values: Annotated[int, Field(ge=1000)] = 20_000
    """Maximum number of values in the JSON of all other requests, such as the parameters of a job: every number, text, list and object
    counts. The coordinator processes each value several times, about 2 ms for a thousand; larger data belong into files."""
    max_artifact: Bytes = Bytes("20Gi")
    """Maximum size of an artifact."""
    max_checkpoints: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of checkpoints per job. The lease of the next run lists all of them, so many more would not fit."""
    max_checkpoint_bytes: Bytes = Bytes("20Gi")
    """Maximum total size of the checkpoints of one job: as much as the largest artifact."""
    max_stored: Bytes = Bytes("1Ti")
    """Storage quota of one account for artifacts, outputs of its jobs, uploads in progress, and jobs whose specification exceeds
    64 KiB: fifty files of the maximum size."""
    max_job_outputs: Bytes = Bytes("100Gi")
    """Maximum total size of the files that miners store for one job: a thousand frames of 100 MiB. The outputs count towards the
    client's `max_stored` once the job has ended; a finished result is never refused because of the quota."""
    max_miner_outputs: Bytes = Bytes("200Gi")
    """Maximum total size of the files that one miner stores for unfinished jobs: two jobs of the maximum size, so that a miner
    cannot fill the disk."""
    storage_reserve: Bytes = Bytes("1Gi")
    """Free space that uploads leave on the coordinator's disk. Below it, uploads and jobs with a specification above 64 KiB get 507
    with Retry-After and the health status is degraded, while the database keeps working. One gigabyte is enough for hours of a
    busy database; 0 disables the check."""
    max_uploads_per_account: Annotated[int, Field(ge=1)] = 100
    """Maximum number of unfinished resumable uploads per account, so that a client in a loop cannot fill the disk."""
    upload_seconds: Annotated[float, Field(gt=0)] = 86_400
    """How long an upload waits for its next bytes, and how long a finished upload can be queried: a day, so that an upload
    survives a night."""
    orphan_seconds: Annotated[float, Field(gt=0)] = 86_400
    """Age at which stored files without a reference are deleted. A crash can leave such files; no upload takes as long as a day
    between its file and its database row."""
    link_seconds: Annotated[float, Field(gt=0)] = 3600
    """Validity of a signed link to an artifact when the request sets none: an hour, enough to read a page."""
    max_link_seconds: Annotated[float, Field(gt=0)] = 7 * 86_400
    """Longest validity of a signed link. Links cannot be revoked, so the limit is a week."""
    max_result: Bytes = Bytes("64Mi")
    """Maximum size of a miner's result, without the output files (these are artifacts)."""
    allow_http_inputs: bool = False
    """Whether jobs may use `http://` URLs. Miners have their own setting and refuse them by default."""
    allow_private_inputs: bool = False
    """Whether jobs may use addresses inside private networks."""
    max_jobs_per_account: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of unfinished jobs per account, so that a client in a loop cannot fill the queue."""
    max_keys_per_account: Annotated[int, Field(ge=1)] = 50
    """Maximum number of valid keys per account, including those of its dashboard sessions. Enough for a key per machine and
    program of a small company, and few enough to review."""
    trusted_proxies: tuple[NetworkSetting, ...] = ()
    """Addresses or networks of reverse proxies. X-Forwarded-For and X-Forwarded-Proto are trusted only from these; from other
    callers they could be forged, and each forged address would have a rate limit of its own."""
    streams: StreamSettings = StreamSettings()
    connections: ConnectionSettings = ConnectionSettings()


class DatabaseSettings(Section):
    """Where the coordinator stores jobs, receipts and accounts."""

    url: Annotated[
        str | None,
        Field(examples=["sqlite:////var/lib/aitbc/coordinator.db"], json_schema_extra={HIDDEN: True}),
    ] = None
    """Where the database is: `postgresql://USER:PASSWORD@HOST/DATABASE` (libpq's URL with all of its parameters), or
    `sqlite:///PATH`. None: a SQLite file in the data directory."""
    session_url: Annotated[str | None, Field(json_schema_extra={HIDDEN: True})] = None
    """PostgreSQL's own URL, if `url` names a connection pooler. LISTEN and advisory locks need a connection that is not shared.
    None: `url`."""
    readers: Annotated[int, Field(ge=1, le=64)] = 4
    """Number of read connections, in addition to those that write."""
    writers: Annotated[int, Field(ge=1, le=64)] = 8
    """Number of connections that write to PostgreSQL at the same time. SQLite always has one."""
    connect_seconds: Annotated[float, Field(ge=2, le=60)] = 5
    """Maximum time for a connection to PostgreSQL."""
    statement_seconds: Annotated[float, Field(ge=1, le=3600)] = 30
    """Maximum time of a statement on PostgreSQL. A transaction that does nothing for twice as long is ended."""
    lock_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 10
    """Maximum time that a transaction on PostgreSQL waits for another one; then it is repeated."""
    retry_seconds: Annotated[float, Field(ge=0, le=600)] = 20
    """How long a transaction is repeated while PostgreSQL cannot be reached, restarts, or another transaction is in the way;
    then the request gets 503 with Retry-After."""
    cache_size: Annotated[Bytes, Field(ge=2**20)] = Bytes("64Mi")
    """Maximum size of the page cache of each connection; there are `readers` plus two connections. The default holds what several
    thousand jobs have written, and all connections together use at most 384 MiB. SQLite only."""
    max_batch: Annotated[int, Field(ge=1)] = 256
    """Maximum number of writes that share one transaction (group commit). SQLite only."""
    max_queue: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of queued writes; beyond it, requests get 503 with Retry-After."""

    @property
    def on_postgres(self) -> bool:
        """Whether `url` names a PostgreSQL server."""
        return self.url is not None and self.url.startswith(("postgresql://", "postgres://"))
