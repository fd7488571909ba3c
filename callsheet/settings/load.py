"""Every setting of the product, read from the environment once; nothing else in the product reads it.

A field of a group (`callsheet/settings/groups.py`) is the variable CALLSHEET_<GROUP>_<FIELD>, unless `named` gives it
another; a new field needs nothing more than a type, a default and a docstring. An empty variable counts as one that is
not set.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from callsheet.settings.groups import (
    AdminSettings,
    AnthropicModelSettings,
    DataSettings,
    EngineSettings,
    FeedSettings,
    HttpSettings,
    IdentitySettings,
    LogSettings,
    ModelSettings,
    NatsSettings,
    OutgoingSettings,
    ProjectionSettings,
    RebuildSettings,
    SecretsSettings,
    StoreSettings,
)
from domain.suggestions import listed, meant

PREFIX: Final = "CALLSHEET_"

_Group = TypeVar("_Group", bound=Struct)


class SettingsUnusable(Exception):  # noqa: N818  # an answer to the person who started us, who reads the message
    """Some variables of the environment cannot be used; the message names each of them and says why."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        """Take the problems by the name of their variable."""
        self.problems = dict(problems)
        super().__init__("\n".join(f"{name}: {problem}" for name, problem in self.problems.items()))


class Settings(Struct, frozen=True, kw_only=True):
    """All settings, by what they are about."""

    data: DataSettings = DataSettings()
    http: HttpSettings = HttpSettings()
    admin: AdminSettings = AdminSettings()
    identity: IdentitySettings = IdentitySettings()
    log: LogSettings = LogSettings()
    store: StoreSettings = StoreSettings()
    engine: EngineSettings = EngineSettings()
    feed: FeedSettings = FeedSettings()
    projection: ProjectionSettings = ProjectionSettings()
    nats: NatsSettings = NatsSettings()
    rebuild: RebuildSettings = RebuildSettings()
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
    problems.update({name: f"there is no such setting{meant(name, sorted(known), len(known))}" for name in strangers})
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
                problems[variable] = _problem(wrong, hints[field])
    return kind(**values)


def _problem(wrong: msgspec.ValidationError, hint: object) -> str:
    """Say what is wrong with a text; of a few words that may stand there it names them all."""
    if get_origin(hint) is Literal:
        return f"it is one of {listed(get_args(hint))}"
    return str(wrong).removesuffix(", got `str`")  # everything here is text


def _from_text(kind: type, text: object) -> object:
    """Make the values that msgspec does not know itself: paths, secrets, lists of hosts."""
    return kind(text)
