"""`callsheet doctor`: check the log, the database and the bus, and say in sentences what to do."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import sys
from typing import Final

import rich_click as click
from msgspec import Struct

from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.asking import load_operator_settings, query_database
from callsheet.operate.doctor.bus_checks import check_bus
from callsheet.operate.doctor.database_checks import check_database
from callsheet.operate.doctor.findings import Finding, Level
from callsheet.operate.doctor.log_checks import check_log
from callsheet.operate.printing import escape_controls, json_option, print_json
from callsheet.settings.load import Settings
from callsheet.startup import exit_on_refusal
from store.log.epochs import Connection, read_state

WRONG: Final = 1
"""The exit code when something is wrong."""


class Diagnosis(Struct, frozen=True, kw_only=True):
    """Findings of all checks."""

    healthy: bool
    findings: tuple[Finding, ...]


@click.command(
    epilog=format_epilog(
        "doctor", "doctor --deep --json", exit_codes=f"{OPERATOR_EXIT_CODES}; also 1 when something is wrong"
    )
)
@click.option("--deep", is_flag=True, help="Compare all facts with the large contents too; reads the whole log.")
@json_option
def doctor(*, deep: bool, as_json: bool) -> None:
    """Check the log, what follows from it, PostgreSQL and NATS, and say what to do about what is wrong."""
    with exit_on_refusal():
        settings = load_operator_settings()
        findings = query_database(lambda connection: _examine(connection, settings, deep=deep))
    healthy = all(finding.level is not Level.WRONG for finding in findings)
    if as_json:
        print_json(Diagnosis(healthy=healthy, findings=findings))
    else:
        for finding in findings:
            said = f"{finding.says} {finding.do}" if finding.do else finding.says
            click.echo(f"{finding.level:<6} {finding.check:<12} {escape_controls(said, kept='')}")
    sys.exit(0 if healthy else WRONG)


async def _examine(connection: Connection, settings: Settings, *, deep: bool) -> tuple[Finding, ...]:
    state = await read_state(connection)
    findings = [finding async for finding in check_log(connection, settings, state, deep=deep)]
    findings += [finding async for finding in check_database(connection)]
    findings += [finding async for finding in check_bus(connection, settings, state)]
    return tuple(findings)
