"""Settings of the engine: runs in progress, timers, failover, model providers and outgoing calls."""

from typing import Annotated

from msgspec import Struct

from domain.setting_types import Bytes, Count, Seconds, Secret, override_variable
from engine.egress.allow_list import AllowList
from engine.providers.price_table import PriceTable
from engine.providers.provider_table import ProviderTable
from engine.steps.http.secrets_file import SecretsFile


class EngineSettings(Struct, frozen=True, kw_only=True):
    """The engine, which executes runs."""

    active_runs: Count = 2_000
    """Maximum number of active runs in one process; as many more are queued in memory.

    Runs that wait for a person, a delay or their children do not count. A workspace alone may use three quarters of the
    slots, and less the more workspaces are busy
    ([details](operations.md#what-happens-if-one-workspace-starts-very-many-runs))."""
    ending_runs: Count = 100
    """Number of additional slots for queued runs that are cancelled, shared between workspaces in the same way."""
    child_rest_seconds: Seconds = 1.0
    """How long a run stays active while none of its children ends; the next end of a child activates it again."""
    lease_seconds: Seconds = 5.0
    """Time without a heartbeat after which an engine counts as dead; one whose connection closes is dead at once."""
    heartbeat_seconds: Seconds = 1.0
    """Interval between heartbeats, and between searches for runs without an owner; shorter than the lease."""
    lease_delay_seconds: Seconds = 0.25
    """How long a run is active before its lease is written; shorter runs write none."""
    asked_delay_seconds: Seconds = 0.5
    """How long a call of a step lasts before what it asked is written; shorter calls are recorded at their end."""
    takeover_grace_seconds: Seconds = 2.0
    """How long a run without an owner must be unchanged before another engine takes it over."""
    lost_attempts_in_a_row: Count = 5
    """Maximum number of consecutive attempts of a step that are lost with their engine; then the step fails."""
    run_data_bytes: Bytes = 64 * 1024 * 1024
    """Maximum size of one run's inputs and outputs over 32 KiB, in bytes; a step whose output exceeds it fails."""
    public_url: str = "http://127.0.0.1:8000"
    """URL under which callers reach the API; `run.signal_url` in templates begins with it."""
    kept_graphs: Count = 1_000
    """Number of compiled workflow versions cached in memory (least recently used first out)."""
    held_back_off_seconds: Seconds = 60
    """Retries of a step that are due later than this are left to a timer, so that the run need not stay active."""
    timer_poll_seconds: Seconds = 10
    """How often the table of timers is read when none is due."""
    timer_page: Count = 500
    """Number of due timers read at a time."""
    timers_in_memory: Count = 10_000
    """Maximum number of timers due soon that are kept in memory; others are read from their table when due."""


class ModelSettings(Struct, frozen=True, kw_only=True):
    """OpenAI-compatible model provider, and limits of all providers."""

    api_key: Annotated[Secret | None, override_variable("OPENAI_API_KEY")] = None
    """API key of an OpenAI-compatible provider; without any key the scripted provider answers."""
    base_url: Annotated[str, override_variable("OPENAI_BASE_URL")] = "https://api.openai.com/v1"
    """Base URL of the provider: any server with the chat completions API."""
    model: Annotated[str, override_variable("OPENAI_MODEL")] = "gpt-5-mini"
    """The model that `openai/default` stands for in prompt steps."""
    timeout_seconds: Seconds = 120
    """Timeout of one call, unless its step sets one."""
    calls: Count = 100
    """Maximum number of concurrent calls to one provider per process; queued calls alternate between workspaces."""
    calls_per_workspace: Count = 50
    """Maximum number of these calls per workspace."""
    waiting_per_workspace: Count = 10_000
    """Maximum number of queued calls per workspace; further calls fail as `overloaded`."""
    attachment_bytes: Bytes = 20 * 1024 * 1024
    """Maximum size of the images and files that one call sends to a model, together, in bytes."""
    providers: ProviderTable | None = None
    """Named model providers, many side by side: JSON, or the path of a JSON file
    ([details](models.md#how-do-i-use-another-model-server))."""
    prices: PriceTable | None = None
    """Prices of models: JSON, or the path of a JSON file."""


class AnthropicModelSettings(Struct, frozen=True, kw_only=True):
    """Anthropic as a second model provider, available if it has a key."""

    api_key: Annotated[Secret | None, override_variable("ANTHROPIC_API_KEY")] = None
    """API key of Anthropic or another server with the messages API."""
    base_url: Annotated[str, override_variable("ANTHROPIC_BASE_URL")] = "https://api.anthropic.com"
    """Base URL of that server."""
    model: Annotated[str, override_variable("ANTHROPIC_MODEL")] = "claude-sonnet-4-5"
    """The model that `anthropic/default` stands for in prompt steps."""
    output_tokens_default: Count = 8_192
    """Maximum length of a response in tokens, unless its step sets one; the API requires a limit."""


class OutgoingSettings(Struct, frozen=True, kw_only=True):
    """Calls to addresses that users choose: `http` steps, and base URLs of model providers."""

    allowed: AllowList | None = None
    """Hosts that may be called although they are not public: `host` or `host:port`, separated by commas.

    IPv6 addresses go in brackets."""
    timeout_seconds: Seconds = 30
    """Timeout of one call of an `http` step, unless the step sets one."""
    connect_seconds: Seconds = 10
    """How long an `http` step waits for a connection."""
    connections: Count = 100
    """Maximum number of concurrent connections of `http` steps."""


class SecretsSettings(Struct, frozen=True, kw_only=True):
    """Secrets available to `http` steps."""

    file: SecretsFile | None = None
    """JSON file with the value of each secret (at least 8 characters) and the hosts that it may be sent to."""
