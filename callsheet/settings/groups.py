"""The groups of settings: every field with its type, its default and what it sets."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from callsheet.settings.nats_servers import NatsServers
from domain.setting_types import Bytes, Count, Milliseconds, Port, Seconds, Secret, SigningSecret, named
from engine.egress.allow_list import AllowList
from engine.providers.price_table import PriceTable
from engine.steps.http.secrets_file import SecretsFile


class DataSettings(Struct, frozen=True, kw_only=True):
    """Where things are kept on this machine, and which database holds the log."""

    directory: Path = Path(".callsheet")
    """For the embedded PostgreSQL (`postgres-18`) and the development secret; relative to where we were started."""
    database_url: Annotated[str | None, named("DATABASE_URL")] = None
    """A PostgreSQL of one's own (15 or newer), as a URL or libpq string; None starts the embedded one."""


class HttpSettings(Struct, frozen=True, kw_only=True):
    """The door to the network."""

    host: str = "127.0.0.1"
    """The address to listen on; in a container 0.0.0.0."""
    port: Port = 8000
    """The port to listen on; 0 lets the system choose one."""
    body_bytes_max: Bytes = 1024 * 1024
    """A larger request body is refused with 413."""
    json_depth_max: Count = 64
    """Deeper JSON is refused with 400."""
    prefer_wait_seconds_max: Seconds = 60
    """The longest that `Prefer: wait` holds a request."""
    page_items: Count = 50
    """How many items a page of a list has when the caller does not say."""
    page_items_max: Count = 200
    """How many items a caller may ask for in one page."""
    page_bytes_max: Count = 8 * 1024 * 1024
    """How many bytes of stored contents a page of events holds; one event is always whole."""
    heartbeat_seconds: Seconds = 15
    """How often an idle event stream shows that it lives."""
    insights_days_max: Count = 366
    """How many days the window of insights may have."""
    insights_buckets_max: Count = 50_000
    """How many buckets of insights one answer adds up; more is refused with 422."""
    shutdown_seconds_max: Seconds = 10
    """How long open requests get to end once we are told to stop."""


class AdminSettings(Struct, frozen=True, kw_only=True):
    """A port of its own for health and metrics, which `work` and `project` have no other for."""

    host: str = "127.0.0.1"
    """The address to listen on: whoever reaches it needs no token."""
    port: Port | None = None
    """The port to listen on, 0 for a free one; None opens none."""


class IdentitySettings(Struct, frozen=True, kw_only=True):
    """Whom we believe."""

    jwt_secret: SigningSecret | None = None
    """Signs development tokens (HS256); None makes one and keeps it in the data directory."""
    workspace_claim: str = "workspace"
    """The claim of a token that names the caller's workspace."""


class LogSettings(Struct, frozen=True, kw_only=True):
    """What is said about what happens."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severity that is written."""
    renderer: Literal["json", "console"] = "json"
    """One JSON object a line, or coloured lines for people."""


class StoreSettings(Struct, frozen=True, kw_only=True):
    """The log and the connections to it."""

    append_queue_commands: Count = 10_000
    """How many commands may wait for the appender; one more is refused at once with 503."""
    append_batch_events: Count = 512
    """About how many events one append takes along: a command is never split."""
    statement_timeout_ms: Milliseconds = 10_000
    """How long one statement may run; it bounds how long the head of the log can be held."""
    command_ids_hours: Count = 24
    """How long a request that is repeated with its Idempotency-Key gets its first answer again."""
    readers: Count = 4
    """How many connections read the log at the same time."""
    aggregate_cache_streams: Count = 10_000
    """How many folded streams are kept in memory, the least used going first."""


class EngineSettings(Struct, frozen=True, kw_only=True):
    """What carries runs out."""

    active_runs: Count = 2_000
    """How many runs are in hand at the same time; as many wait for a place.

    Runs that wait for a person, a delay or their children are not counted. One workspace gets three quarters
    of them when it is alone, and less the more workspaces are busy."""
    ending_runs: Count = 100
    """How many more may be in hand because somebody wants to end them: one that waits for a place is ended at once.

    Shared between workspaces in the same way."""
    child_rest_seconds: Seconds = 1.0
    """How long a run stays in hand while none of its children ends; the next end takes it in hand again."""
    lease_seconds: Seconds = 5.0
    """How long an engine that gives no sign counts as alive; one whose connection ends is gone at once."""
    heartbeat_seconds: Seconds = 1.0
    """How often an engine gives a sign, and looks for runs that nobody has in hand; less than the lease."""
    lease_delay_seconds: Seconds = 0.25
    """How long a run is in hand before that is written down; a shorter one costs nothing."""
    takeover_grace_seconds: Seconds = 2.0
    """How long a run without an owner has to be left unchanged before another engine takes it."""
    lost_attempts_in_a_row: Count = 5
    """After so many attempts that were lost in a row, each with the engine that made it, a step fails for good."""
    run_data_bytes: Bytes = 64 * 1024 * 1024
    """What one run may hold of inputs and outputs over 32 KiB, in bytes; a step whose output is more fails."""
    kept_graphs: Count = 1_000
    """How many compiled workflow versions are kept in memory, the least used going first."""
    held_back_off_seconds: Seconds = 60
    """A longer wait before a step's next attempt is left to a timer, so that its run need not be in hand meanwhile."""
    timer_poll_seconds: Seconds = 10
    """How often the table of timers is looked at when none of them is due."""
    timer_page: Count = 500
    """How many timers that are due are read at a time."""
    timers_in_memory: Count = 10_000
    """How many timers that are due soon are kept in memory; the rest is read from its table when due."""


class FeedSettings(Struct, frozen=True, kw_only=True):
    """What carries new facts to those who follow the log."""

    buffer_events: Count = 20_000
    """How many events are kept in memory for followers that are a little behind; older ones are read from the log."""
    poll_seconds: Seconds = 1.0
    """How often the log is looked at when nothing wakes us."""


class ProjectionSettings(Struct, frozen=True, kw_only=True):
    """What folds facts into read models."""

    batch_events: Count = 2_000
    """How many events a projection takes at a time, and a retry of what is parked."""
    commit_seconds: Seconds = 60
    """How long one batch may take; then its connection is given up, and it is tried again over another."""
    stalled_seconds: Seconds = 30
    """How long there may be something to fold, and nothing be folded, before `/readyz` says so."""
    standby_seconds: Seconds = 1.0
    """How often a worker that stands by tries to take over."""
    hung_seconds: Seconds = 10.0
    """How long a worker that hangs may leave facts unfolded; then one that stands by ends its session of PostgreSQL."""


class NatsSettings(Struct, frozen=True, kw_only=True):
    """The bus over NATS; without a URL the processes wake each other through PostgreSQL."""

    url: Annotated[NatsServers | None, named("NATS_URL")] = None
    """One server of NATS or several, `nats://` or `tls://`, separated by commas; it may name a user and a password."""
    user: str | None = None
    """Whom we connect as, where the URL does not say."""
    password: Secret | None = None
    """Their password."""
    token: Secret | None = None
    """A token in the place of a user and a password."""
    ca_file: Path | None = None
    """The certificates that the servers' are checked by, as PEM; None takes the system's."""
    certificate_file: Path | None = None
    """The certificate that we show to servers that ask for one, as PEM."""
    key_file: Path | None = None
    """Its key, where that file does not hold it."""
    connect_seconds: Seconds = 5
    """How long an attempt to connect to one server may take."""
    ping_seconds: Seconds = 10
    """How often the connection is tried; after two tries without an answer it counts as lost."""
    patience_seconds: Seconds = 0.1
    """How long a new fact may take to come over NATS before the log is read for it."""
    pending_events: Count = 20_000
    """How many events that have arrived may wait in memory; the log is read for those past it."""
    unsent_deltas: Count = 10_000
    """How many deltas may wait to be sent; past it the oldest are dropped."""
    stream: str = "CALLSHEET"
    """The name of the stream on JetStream that keeps published facts for subscribers."""
    stream_replicas: Count = 1
    """How many servers of a cluster keep it: 1, 3 or 5."""
    stream_hours: Count = 168
    """How long it keeps a fact."""
    stream_bytes: Bytes = 1024 * 1024 * 1024
    """How much it keeps; past it the oldest facts go."""
    relay_page_events: Count = 1_000
    """How many facts the relay publishes before it waits for all of them to be acknowledged."""
    relay_ack_seconds: Seconds = 10
    """How long that may take, before the same facts are published again."""
    relay_standby_seconds: Seconds = 1.0
    """How often a relay that stands by tries to become the one that publishes."""
    relay_hung_seconds: Seconds = 15.0
    """The same of a relay and facts to publish; more than `CALLSHEET_NATS_RELAY_ACK_SECONDS`."""


class RebuildSettings(Struct, frozen=True, kw_only=True):
    """What builds read models again beside those that serve."""

    page_events: Count = 10_000
    """How many events are read, folded and committed at a time."""
    swap_events_max: Count = 2_000
    """How far behind the live projections a swap may begin: readers wait for as long as it folds these."""
    swap_wait_ms: Milliseconds = 500
    """How long a swap waits for the live tables before it lets others go first; less than `deadlock_timeout`."""
    swap_tries: Count = 40
    """How often the swap is tried before the rebuild is left for `--resume`."""
    swap_pause_seconds: Seconds = 0.5
    """How long it waits between two tries."""
    statement_timeout_ms: Milliseconds = 3_600_000
    """How long one statement may take: the making of an index, or the hash of a table."""
    sampled_differences: Count = 10
    """How many of the rows that differ are named, for each table; all are counted."""


class ModelSettings(Struct, frozen=True, kw_only=True):
    """The model provider of prompt steps. Without a key the scripted provider answers, and says that it does."""

    api_key: Annotated[Secret | None, named("OPENAI_API_KEY")] = None
    """The key of an OpenAI-compatible provider."""
    base_url: Annotated[str, named("OPENAI_BASE_URL")] = "https://api.openai.com/v1"
    """Where the provider is; any server that speaks the chat completions protocol will do."""
    model: Annotated[str, named("OPENAI_MODEL")] = "gpt-5-mini"
    """What the model `openai/default` stands for."""
    timeout_seconds: Seconds = 120
    """How long one call may take."""
    calls: Count = 100
    """How many calls of one provider are under way at the same time in one process."""
    calls_per_workspace: Count = 50
    """How many of these may be of one workspace."""
    waiting_per_workspace: Count = 10_000
    """How many calls of one workspace may wait for their turn; one more fails as overloaded."""
    prices: PriceTable | None = None
    """What models cost in USD per million tokens: JSON, or the path of a file with it."""


class OutgoingSettings(Struct, frozen=True, kw_only=True):
    """Calls of addresses that people choose: `http` steps, and the base URLs of model providers."""

    allowed: AllowList | None = None
    """Hosts that may be called though they are not public, `host` or `host:port`, separated by commas."""
    timeout_seconds: Seconds = 30
    """How long one call of an `http` step may take, where its step does not say."""
    connect_seconds: Seconds = 10
    """How long an `http` step waits for a connection."""
    connections: Count = 100
    """How many connections `http` steps have at the same time."""


class AnthropicModelSettings(Struct, frozen=True, kw_only=True):
    """Anthropic as a model provider beside the other; it is there once it has a key."""

    api_key: Annotated[Secret | None, named("ANTHROPIC_API_KEY")] = None
    """Its key."""
    base_url: Annotated[str, named("ANTHROPIC_BASE_URL")] = "https://api.anthropic.com"
    """Where it is; any server that speaks the messages protocol will do."""
    model: Annotated[str, named("ANTHROPIC_MODEL")] = "claude-sonnet-4-5"
    """What the model `anthropic/default` stands for."""
    output_tokens_default: Count = 8_192
    """How long an answer may be, where the step does not say."""


class SecretsSettings(Struct, frozen=True, kw_only=True):
    """What `http` steps may send and nobody may read."""

    file: SecretsFile | None = None
    """The file of the secrets, as JSON: the value of each, and the hosts that it may be sent to."""
