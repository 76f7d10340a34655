"""Settings of the coordinator."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated

from pydantic import Field

from agent.core.rates import NetworkSetting, Rate
from agent.core.values.quantities import Bytes, Money
from agent.settings._section import HIDDEN, Section
from aitbc.receipts import CLOCK_SKEW_SECONDS


class RateLimitSettings(Section):
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
    logins: Rate = Rate(60, 60)
    """Login links and keys with which browsers at one address sign in. Apart from `failures`, so that somebody who makes tokens up
    locks out no key."""
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


class WebhookSettings(Section):
    """Messages to clients' own servers about jobs that have ended (docs/how-to/webhooks.md)."""

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
    retention_seconds: Annotated[float, Field(gt=0)] = 30 * 86_400
    """How long finished messages can be looked at."""


class ConnectionSettings(Section):
    """Connections to the coordinator: how many there may be, and how long they may keep it waiting. See docs/reference/limits.md."""

    maximum: Annotated[int, Field(ge=1)] = 10_000
    """Connections in all. Fewer fit where the process may open fewer files: half of what `reserved_descriptors` leaves."""
    per_address: Annotated[int, Field(ge=1)] = 256
    """Connections from one IPv4 address or IPv6 /64 on which no valid key has come yet; beyond it the oldest of them is
    closed. Callers with a key, such as the miners of a site behind one address, do not count."""
    per_account: Annotated[int, Field(ge=1)] = 1000
    """Connections of one account or miner, at most a quarter of all. Further ones are treated as those without a key."""
    reserved_descriptors: Annotated[int, Field(ge=16)] = 192
    """File descriptors that connections leave to the database, files, the log and an embedded miner."""
    head_seconds: Annotated[float, Field(gt=0)] = 15
    """How long the head of a request may take to arrive, from its first byte or from the connection's beginning."""
    max_head: Bytes = Bytes("64Ki")
    """Largest head of a request: its path and headers."""
    body_seconds: Annotated[float, Field(gt=0)] = 30
    """How long the coordinator waits for a body in all, beside the time that the body takes at `body_rate`."""
    body_rate: Annotated[int, Field(ge=1)] = 500
    """Bytes per second of the slowest body that is accepted. A tenth of what a modem brought."""
    idle_seconds: Annotated[int, Field(ge=1)] = 75
    """How long a connection stays open after an answer; longer than common proxies keep theirs (60 s), so that they close first."""
    send_seconds: Annotated[float, Field(gt=0)] = 60
    """A client that takes nothing of its answer for so long is disconnected. It can resume streams and downloads."""


class StreamSettings(Section):
    """Who follows what happens: `/ws` and the events of a job. See docs/reference/streams.md."""

    queue: Annotated[int, Field(ge=1)] = 1024
    """Messages that wait for one client before it counts as too slow: ten seconds of a fast language model's tokens."""
    queue_size: Bytes = Bytes("4Mi")
    """Bytes that wait for one client: a hundred previews."""
    history: Annotated[int, Field(ge=0)] = 20_000
    """How many of the newest tokens, previews and progress messages are kept in memory for clients whose connection broke."""
    history_size: Bytes = Bytes("32Mi")
    """Bytes of these in all."""
    queued_size: Bytes = Bytes("256Mi")
    """Bytes that wait for all clients together; beyond it a client that does not keep up counts as too slow."""
    connections_per_account: Annotated[int, Field(ge=1)] = 256
    """Streams of all kinds that the keys of one account or miner may have open together; each costs a socket and up to
    `queue_size`."""
    connections: Annotated[int, Field(ge=1)] = 4096
    """Streams of all accounts together, at most half of all connections."""
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


class CoordinatorSettings(Section):
    """The coordinator: where it listens, what it accepts, how long its promises last."""

    host: str = "127.0.0.1"
    """Address to listen on. The default is loopback, since a coordinator without TLS should not face a network."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8420
    """TCP port; 0 takes a free one, which `agent.json` then names."""
    hosts: tuple[Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9_.-]+)$", max_length=253)], ...] = ()
    """Names under which clients reach the coordinator, without ports; `*.example.org` for all below one, `*` for any. IP
    addresses, `localhost` and this machine's name always work. Other names are refused where the coordinator listens on
    loopback only, or where this is set: a page in a browser could point its own name here (DNS rebinding)."""
    origins: tuple[Annotated[str, Field(max_length=300)], ...] = ()
    """Origins of web pages, such as `https://app.example.org`, that may open WebSockets here beside the coordinator's own; `*`
    for any."""
    environment: str = "production"
    """What the health answer calls this installation."""
    origin: str | None = None
    """Name of the log in receipts and checkpoints. None: derived from the log's key, so that it never changes."""
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
    event_retention_seconds: Annotated[float, Field(gt=0)] = 7 * 86_400
    """How long changes are kept for clients that come back and ask what they have missed. A week outlasts a long weekend."""
    default_timeout_seconds: Annotated[int, Field(gt=0)] = 3600
    """Hard limit of one run of a job that does not name one, in seconds."""
    max_timeout_seconds: Annotated[int, Field(gt=0)] = 86_400
    """Longest `timeout_seconds` that a client may ask for."""
    default_max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How many runs a job may cost before it fails for the machines' faults."""
    max_clock_skew_seconds: Annotated[float, Field(ge=0, le=CLOCK_SKEW_SECONDS)] = CLOCK_SKEW_SECONDS
    """How far the times in a miner's statement may lie before the assignment of its job or after its completion, by the coordinator's
    clock. Miners count from the lease's arrival and need none of it; five minutes outlast a correction of the coordinator's own
    clock while jobs run. Not more: receipts beyond five minutes do not verify."""
    releases_tolerated: Annotated[float, Field(ge=0)] = 5
    """How often within about an hour a miner may take jobs again after having handed some back, before it pauses and its reputation
    falls. A machine that is shut down, paused or needed by its owner does so a few times a day."""
    release_pause_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    """First pause of a miner that keeps handing jobs back; each further one is twice as long, up to an hour. Long enough for another
    miner to take the job, and short for one that had a bad moment."""
    client_failures_tolerated: Annotated[float, Field(ge=1)] = 30
    """How many failures an account may cause within about ten minutes (wrong input, limits, timeouts) before its jobs run only
    `slowed_jobs` at a time. A batch with a mistake in it is no attack; hundreds of such jobs keep miners from others' work."""
    slowed_jobs: Annotated[int, Field(ge=1)] = 1
    """How many jobs run at the same time of an account that causes too many failures. One: it can still find its mistake."""
    max_body: Bytes = Bytes("4Mi")
    """Largest JSON body of a request."""
    max_body_without_key: Bytes = Bytes("256Ki")
    """Largest body of a request without a valid key, where none is needed: registrations, and receipts to verify. Of other
    bodies without a key no more than this is read."""
    max_json_values: Annotated[int, Field(ge=1000)] = 1_000_000
    """Most values in a JSON body of more than 256 KiB, since each costs some 60 bytes of memory. A transcript of 24 hours, with the
    time of every word, has fewer."""
    max_artifact: Bytes = Bytes("20Gi")
    """Largest artifact."""
    max_checkpoints: Annotated[int, Field(ge=1)] = 10_000
    """How many checkpoints one job may have. They all stand in the lease of its next run, so that many more would not fit."""
    max_checkpoint_bytes: Bytes = Bytes("20Gi")
    """Most that the checkpoints of one job may have together: as much as the largest artifact."""
    max_stored: Bytes = Bytes("1Ti")
    """Most that one account may store in artifacts, outputs of its jobs included, and uploads in progress together: fifty files
    of the largest size."""
    max_job_outputs: Bytes = Bytes("100Gi")
    """Most that the miners of one job may store for it: a thousand frames of 100 MiB. The outputs count towards the client's
    `max_stored` once the job has ended; a finished result is never refused for want of quota."""
    max_miner_outputs: Bytes = Bytes("200Gi")
    """Most that one miner may store for jobs that have not ended: two of the largest, so that a miner cannot fill the disk."""
    storage_reserve: Bytes = Bytes("1Gi")
    """Free space that uploads leave on the coordinator's disk. Below it they get 507 with Retry-After and health says degraded,
    while the database goes on. A gigabyte is hours of a busy database; 0 switches the check off."""
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
    max_keys_per_account: Annotated[int, Field(ge=1)] = 50
    """How many valid keys one account may have, those for its dashboards included. A key for each machine and program of a
    small firm, and few enough to look through."""
    max_commands_per_miner: Annotated[int, Field(ge=1, le=1000)] = 100
    """How many commands may wait for one miner. They are sent with each of its heartbeats until it has executed."""
    login_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600
    """How long a login link is good. Ten minutes: it is opened at once, and may be left in a terminal's history."""
    session_seconds: Annotated[float, Field(gt=0, le=400 * 86_400)] = 14 * 86_400
    """How long a browser stays signed in to the dashboard. Two weeks: long enough for daily use, and a forgotten browser in an
    office ends by itself. Browsers keep no cookie for longer than 400 days."""
    dashboard: bool = True
    """Whether the dashboard is served, at `/dashboard/`."""
    trusted_proxies: tuple[NetworkSetting, ...] = ()
    """Addresses or networks of reverse proxies. Only from them are X-Forwarded-For and X-Forwarded-Proto believed; from anybody
    else they could be made up, and each made-up address would have a budget of its own."""
    metrics_readers: tuple[NetworkSetting, ...] = (ip_network("127.0.0.0/8"), ip_network("::1"))
    """Networks from which `/metrics` is read without a key; an administrator's key may read it from anywhere. The default is this
    machine: there are numbers of the business in it. What a proxy has forwarded counts as coming from elsewhere."""
    rate_limits: RateLimitSettings = RateLimitSettings()
    webhooks: WebhookSettings = WebhookSettings()
    streams: StreamSettings = StreamSettings()
    connections: ConnectionSettings = ConnectionSettings()


class DatabaseSettings(Section):
    """Where the coordinator keeps jobs, receipts and accounts."""

    url: Annotated[
        str | None,
        Field(examples=["sqlite:////var/lib/aitbc/coordinator.db"], json_schema_extra={HIDDEN: True}),
    ] = None
    """SQLAlchemy URL. None: a SQLite file in the data directory."""
    readers: Annotated[int, Field(ge=1, le=64)] = 4
    """Connections for reading beside the one that writes."""
    cache_size: Annotated[Bytes, Field(ge=2**20)] = Bytes("64Mi")
    """Most memory for pages of the database, of each connection; there are `readers` and two more. The default holds what some
    thousands of jobs have written, and all connections together use at most 384 MiB."""
    max_batch: Annotated[int, Field(ge=1)] = 256
    """How many writes may share one transaction (group commit)."""
    max_queue: Annotated[int, Field(ge=1)] = 10_000
    """How many writes may wait; beyond that requests get 503 with Retry-After."""
