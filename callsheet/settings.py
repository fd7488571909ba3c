"""Every setting of the product, read from the environment once; nothing else in the product reads it.

A field of a group is the variable CALLSHEET_<GROUP>_<FIELD>, unless `named` gives it another; a new field needs
nothing more than a type, a default and a docstring. An empty variable counts as one that is not set.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from callsheet.prices import PriceTable
from callsheet.secrets_file import SecretsFile
from engine.allow_list import AllowList

PREFIX: Final = "CALLSHEET_"

Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Milliseconds = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]  # a year: infinity is no time to wait
Bytes = Annotated[int, Meta(ge=1)]

_Group = TypeVar("_Group", bound=Struct)


class SettingsUnusable(Exception):  # noqa: N818  # an answer to the person who started us, who reads the message
    """Some variables of the environment cannot be used; the message names each of them and says why."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        """Take the problems by the name of their variable."""
        self.problems = dict(problems)
        super().__init__("\n".join(f"{name}: {problem}" for name, problem in self.problems.items()))


class Secret:
    """A text that is kept out of logs and tracebacks; `reveal` gives it."""

    characters_min: ClassVar[int] = 1

    def __init__(self, text: str) -> None:
        """Keep the text. Raises ValueError when it is too short for its use."""
        if len(text) < self.characters_min:
            raise ValueError(f"a secret of this kind has at least {self.characters_min} characters")
        self._text = text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def reveal(self) -> str:
        """Give the text itself."""
        return self._text


class SigningSecret(Secret):
    """A secret that signs by HMAC with SHA-256: at least as long as the hash (RFC 7518, section 3.2)."""

    characters_min: ClassVar[int] = 32


def named(variable: str) -> Meta:
    """Name the variable of a field that does not follow the rule, because others named it first."""
    return Meta(extra={"variable": variable})


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
    heartbeat_seconds: Seconds = 15
    """How often an idle event stream shows that it lives."""
    shutdown_seconds_max: Seconds = 10
    """How long open requests get to end once we are told to stop."""


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
    """How many runs are in hand at the same time; runs that wait for a person are not counted."""
    lease_seconds: Seconds = 5.0
    """How long an engine that gives no sign counts as alive; one whose connection ends is gone at once."""
    heartbeat_seconds: Seconds = 1.0
    """How often an engine gives a sign, and looks for runs that nobody has in hand; less than the lease."""
    lease_delay_seconds: Seconds = 0.25
    """How long a run is in hand before that is written down; a shorter one costs nothing."""
    takeover_grace_seconds: Seconds = 2.0
    """How long a run without an owner has to be left unchanged before another engine takes it."""
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


class Settings(Struct, frozen=True, kw_only=True):
    """All settings, by what they are about."""

    data: DataSettings = DataSettings()
    http: HttpSettings = HttpSettings()
    identity: IdentitySettings = IdentitySettings()
    log: LogSettings = LogSettings()
    store: StoreSettings = StoreSettings()
    engine: EngineSettings = EngineSettings()
    feed: FeedSettings = FeedSettings()
    model: ModelSettings = ModelSettings()
    outgoing: OutgoingSettings = OutgoingSettings()
    anthropic: AnthropicModelSettings = AnthropicModelSettings()
    secrets: SecretsSettings = SecretsSettings()


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from an environment. Raises SettingsUnusable, which names every bad variable at once."""
    problems: dict[str, str] = {}
    known: set[str] = set()
    groups: dict[str, Struct] = {}
    for group, kind in get_type_hints(Settings).items():
        variables = variables_of(group, kind)
        known.update(variables.values())
        groups[group] = _read_group(kind, variables, environ, problems)
    strangers = (name for name in sorted(environ) if name.startswith(PREFIX) and name not in known)
    problems.update(dict.fromkeys(strangers, "there is no such setting"))
    if problems:
        raise SettingsUnusable(problems)
    return msgspec.convert(groups, Settings)


def variables_of(group: str, kind: type[Struct]) -> dict[str, str]:
    """Give the variable of each field of a group."""
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    return {field: _named_in(hints[field]) or f"{PREFIX}{group}_{field}".upper() for field in kind.__struct_fields__}


def _named_in(hint: object) -> str | None:
    extras = (part.extra for part in get_args(hint) if isinstance(part, Meta))
    return next((extra["variable"] for extra in extras if extra and "variable" in extra), None)


def _read_group(
    kind: type[_Group], variables: Mapping[str, str], environ: Mapping[str, str], problems: dict[str, str]
) -> _Group:
    """Read the fields of one group that are set, noting the ones that cannot be used."""
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    values: dict[str, object] = {}
    for field, variable in variables.items():
        if text := environ.get(variable, ""):
            try:
                values[field] = msgspec.convert(text, hints[field], strict=False, dec_hook=_from_text)
            except msgspec.ValidationError as wrong:
                problems[variable] = str(wrong).removesuffix(", got `str`")  # everything here is text
    return kind(**values)


def _from_text(kind: type, text: object) -> object:
    """Make the values that msgspec does not know itself: paths, secrets, lists of hosts."""
    return kind(text)
