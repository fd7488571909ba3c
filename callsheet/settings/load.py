"""Load every setting from environment variables; nothing else in the product reads the environment.

Each setting is defined once: a field of a Struct in the `settings.py` of the package that uses it, with its type, its
default and a docstring that `docs/settings.md` is generated from. Its variable is CALLSHEET_<GROUP>_<FIELD>, unless
`named` declares another. An empty variable counts as not set.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from bus.settings import FeedSettings, NatsSettings, PresenceSettings
from callsheet.settings.groups import AdminSettings, DataSettings, LogSettings
from domain.suggestions import format_names, suggest_name
from engine.settings import AnthropicModelSettings, EngineSettings, ModelSettings, OutgoingSettings, SecretsSettings
from gateway.settings import FlagSettings, HttpSettings, IdentitySettings, LimitSettings, StreamSettings
from projections.settings import ProjectionSettings, RebuildSettings
from store.settings import CacheSettings, RunSettings, SealSettings, StoreSettings, WorkSettings

PREFIX: Final = "CALLSHEET_"


class SettingsUnusable(Exception):  # noqa: N818  # an answer to the operator, who reads the message
    """Environment variables have invalid values; the message lists each with its problem."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        """Create it from problems by variable."""
        self.problems = dict(problems)
        super().__init__("\n".join(f"{name}: {problem}" for name, problem in self.problems.items()))


class Settings(Struct, frozen=True, kw_only=True):
    """All settings; the name of a field is the group in the names of its variables."""

    data: DataSettings = DataSettings()
    http: HttpSettings = HttpSettings()
    stream: StreamSettings = StreamSettings()
    admin: AdminSettings = AdminSettings()
    identity: IdentitySettings = IdentitySettings()
    limit: LimitSettings = LimitSettings()
    flags: FlagSettings = FlagSettings()
    log: LogSettings = LogSettings()
    store: StoreSettings = StoreSettings()
    cache: CacheSettings = CacheSettings()
    runs: RunSettings = RunSettings()
    work: WorkSettings = WorkSettings()
    seal: SealSettings = SealSettings()
    engine: EngineSettings = EngineSettings()
    feed: FeedSettings = FeedSettings()
    projection: ProjectionSettings = ProjectionSettings()
    presence: PresenceSettings = PresenceSettings()
    nats: NatsSettings = NatsSettings()
    rebuild: RebuildSettings = RebuildSettings()
    model: ModelSettings = ModelSettings()
    outgoing: OutgoingSettings = OutgoingSettings()
    anthropic: AnthropicModelSettings = AnthropicModelSettings()
    secrets: SecretsSettings = SecretsSettings()


class Variable(Struct, frozen=True, kw_only=True):
    """One setting: the environment variable, and the field that it sets."""

    name: str
    group: str
    field: str
    kind: Any
    """Type of the field, with its constraints."""
    default: object

    def value(self, settings: Settings) -> object:
        """Return the value in these settings."""
        return getattr(getattr(settings, self.group), self.field)


def list_variables() -> Iterator[Variable]:
    """Yield every setting, in the order of `Settings`."""
    defaults = Settings()
    for group, kind in get_type_hints(Settings).items():
        for field, hint in get_type_hints(kind, include_extras=True).items():
            name = _declared_name(hint) or f"{PREFIX}{group}_{field}".upper()
            default = getattr(getattr(defaults, group), field)
            yield Variable(name=name, group=group, field=field, kind=hint, default=default)


def _declared_name(hint: object) -> str | None:
    extras = (part.extra for part in get_args(hint) if isinstance(part, Meta))
    return next((extra["variable"] for extra in extras if extra and "variable" in extra), None)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Load the settings from environment variables. Raises SettingsUnusable, which lists all invalid ones."""
    problems: dict[str, str] = {}
    values: dict[str, dict[str, object]] = {}
    known = {variable.name: variable for variable in list_variables()}
    for variable in known.values():
        if text := environ.get(variable.name, ""):
            try:
                parsed = msgspec.convert(text, variable.kind, strict=False, dec_hook=_parse_text)
            except msgspec.ValidationError as invalid:
                problems[variable.name] = _describe_problem(invalid, variable.kind)
            else:
                values.setdefault(variable.group, {})[variable.field] = parsed
    unknown = (name for name in sorted(environ) if name.startswith(PREFIX) and name not in known)
    problems.update({name: f"unknown setting{suggest_name(name, sorted(known), len(known))}" for name in unknown})
    if problems:
        raise SettingsUnusable(problems)
    groups: dict[str, Struct] = {
        group: kind(**values.get(group, {})) for group, kind in get_type_hints(Settings).items()
    }
    return msgspec.convert(groups, Settings)


def _describe_problem(invalid: msgspec.ValidationError, kind: object) -> str:
    """Return the message for an invalid value; for an enumeration it lists the allowed values."""
    if get_origin(kind) is Literal:
        return f"must be one of {format_names(get_args(kind))}"
    return str(invalid).removesuffix(", got `str`")  # every variable is a string


def _parse_text(kind: type, text: object) -> object:
    """Parse the types that msgspec does not know: paths, secrets, lists of hosts."""
    return kind(text)
