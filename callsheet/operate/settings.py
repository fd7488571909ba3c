"""`callsheet settings`: every setting with its value, its default and where the value comes from."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import os
from collections.abc import Mapping

import psycopg
import rich_click as click
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.printing import json_option, print_json, print_table
from callsheet.settings.load import Variable, list_variables, load_settings
from callsheet.startup import exit_on_refusal
from domain.setting_types import Secret

MASKED = "********"
DATABASE_URL = "DATABASE_URL"


class ShownSetting(Struct, frozen=True, kw_only=True):
    """One setting as `callsheet settings` prints it; secrets are masked."""

    variable: str
    value: str | None
    default: str | None
    source: str
    """`environment` or `default`."""


@click.command(
    name="settings",
    epilog=format_epilog("settings", "settings --changed", "settings --json", exit_codes=OPERATOR_EXIT_CODES),
)
@click.option("--changed", is_flag=True, help="Print only the settings that environment variables set.")
@json_option
def settings_command(*, changed: bool, as_json: bool) -> None:
    """Print every setting with its value, its default and its source. Secrets and passwords are masked.

    Exits with 2 and lists the problems if a value is invalid or a CALLSHEET_ variable is unknown.
    """
    with exit_on_refusal():
        found = read_settings(os.environ)
    if changed:
        found = [setting for setting in found if setting.source != "default"]
    if as_json:
        print_json(found)
        return
    rows = [(setting.variable, setting.value or "-", setting.default or "-", setting.source) for setting in found]
    print_table(("variable", "value", "default", "source"), rows)


def read_settings(environ: Mapping[str, str]) -> list[ShownSetting]:
    """Return every setting, with its value in this environment. Raises SettingsUnusable."""
    settings = load_settings(environ)
    return [
        ShownSetting(
            variable=variable.name,
            value=_mask(variable, variable.value(settings)),
            default=_mask(variable, variable.default),
            source="environment" if environ.get(variable.name) else "default",
        )
        for variable in list_variables()
    ]


def _mask(variable: Variable, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, Secret):
        return MASKED
    return _mask_password(str(value)) if variable.name == DATABASE_URL else str(value)


def _mask_password(conninfo: str) -> str:
    """Return a connection string without its password."""
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:  # psycopg's message would quote the password
        return MASKED
    return make_conninfo("", **{name: MASKED if name == "password" else part for name, part in parts.items()})
