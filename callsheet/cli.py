"""The command line: processes (`dev`, `serve`, `work`, `project`), tools, and the commands for operators."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import rich_click as click
import uvloop
from uuid_utils.compat import uuid7

from callsheet.clock import utc_now
from callsheet.demo.demo import run_demo
from callsheet.development_secret import load_signing_secret
from callsheet.embedded.postgres import EmbeddedPostgres
from callsheet.help_text import OPERATOR_EXIT_CODES, PROCESS_EXIT_CODES, format_epilog
from callsheet.operate.audit import audit
from callsheet.operate.doctor.command import doctor
from callsheet.operate.events import events
from callsheet.operate.parked import parked_commands
from callsheet.operate.projections import projections, resolve_projection_names
from callsheet.operate.rebuild import prune_command, rebuild_command
from callsheet.operate.recover import recover
from callsheet.operate.relay import relay
from callsheet.operate.settings import settings_command
from callsheet.server.serve import serve as serve_parts
from callsheet.settings.development import accept_development_tokens
from callsheet.settings.load import Settings, SettingsUnusable, load_settings
from callsheet.startup import exit_on_refusal, load_settings_with_options, open_database, open_server
from callsheet.telemetry.logging import configure_logging
from callsheet.wiring.core import COMPONENTS, EVERYTHING, Part, Parts
from callsheet.wiring.projections import ALL_PROJECTIONS
from domain.ids import from_uuid, to_uuid
from gateway.identity.assembly import check_issuers
from gateway.identity.development_tokens import sign_development_token
from gateway.identity.scopes import Scope
from store.postgres.migrations import migrate

EXIT_CODES: Final = (
    f"{OPERATOR_EXIT_CODES}, 3 attention needed, 4 not found (rebuild: interrupted), "
    "5 rebuild: a fact cannot be folded, 130 Ctrl-C"
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=format_epilog("dev", "token --user usr_ana", "projections status", "events tail -f", exit_codes=EXIT_CODES),
)
@click.version_option(package_name=None, version="0.1.0", prog_name="callsheet")
def main() -> None:
    """Run creative workflows of AI and human steps on one ordered, append-only log."""


main.add_command(events)
main.add_command(projections)
main.add_command(relay)
main.add_command(recover)
main.add_command(doctor)
main.add_command(audit)
main.add_command(settings_command)
projections.add_command(parked_commands)
projections.add_command(rebuild_command)
projections.add_command(prune_command)


@main.command(epilog=format_epilog("dev", "dev --port 0", exit_codes=PROCESS_EXIT_CODES))
@click.option("--host", help="Address to listen on (CALLSHEET_HTTP_HOST).")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port to listen on, 0 for a free one (CALLSHEET_HTTP_PORT)."
)
def dev(host: str | None, port: int | None) -> None:
    """Serve gateway, engine and projections in one process, with a PostgreSQL of its own unless DATABASE_URL is set."""
    with exit_on_refusal():
        settings = accept_development_tokens(load_settings_with_options(host=host, port=port))
        configure_logging(settings.log.level, settings.log.renderer)
        with open_server(settings) as server:
            uvloop.run(migrate_and_serve(settings, server, EVERYTHING))


@main.command(epilog=format_epilog("serve --host 0.0.0.0 --port 8000", "serve --engine", exit_codes=PROCESS_EXIT_CODES))
@click.option("--host", help="Address to listen on (CALLSHEET_HTTP_HOST).")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port to listen on, 0 for a free one (CALLSHEET_HTTP_PORT)."
)
@click.option("--engine", is_flag=True, help="Run an engine in the same process: the fastest set-up on one machine.")
def serve(host: str | None, port: int | None, *, engine: bool) -> None:
    """Serve the gateway, over the PostgreSQL of DATABASE_URL; with --engine also execute runs."""
    run_parts(frozenset({Part.GATEWAY, Part.ENGINE} if engine else {Part.GATEWAY}), host=host, port=port)


@main.command(epilog=format_epilog("work", exit_codes=PROCESS_EXIT_CODES))
def work() -> None:
    """Execute runs: an engine without a gateway. Any number may run over the PostgreSQL of DATABASE_URL."""
    run_parts(frozenset({Part.ENGINE}))


@main.command(epilog=format_epilog("project", "project runs tasks", exit_codes=PROCESS_EXIT_CODES))
@click.argument("names", nargs=-1, metavar="[NAME]...")
def project(names: tuple[str, ...]) -> None:
    """Fold facts into read models: all projections or those named, over the PostgreSQL of DATABASE_URL.

    With NATS_URL one of these processes publishes facts to NATS too.
    """
    run_parts(frozenset({Part.PROJECTIONS}), resolve_projection_names(names))


def run_parts(parts: Parts, names: Sequence[str] = ALL_PROJECTIONS, **http: Any) -> None:  # noqa: ANN401  # options of several types
    """Run a process that shares a database with others, until SIGINT or SIGTERM."""
    with exit_on_refusal():
        settings = load_settings_with_options(**http)
        configure_logging(settings.log.level, settings.log.renderer)
        conninfo = settings.data.database_url
        if conninfo is None:
            raise SettingsUnusable({"DATABASE_URL": "set it to the database that the processes share"})
        if Part.GATEWAY in parts:
            check_issuers(settings.identity)
        uvloop.run(migrate_and_serve(settings, conninfo, parts, names))


@main.command(name="migrate", epilog=format_epilog("migrate", exit_codes=OPERATOR_EXIT_CODES))
def migrate_command() -> None:
    """Apply the missing migrations to the database of DATABASE_URL, or to the embedded one."""
    with exit_on_refusal():
        with open_database(load_settings(os.environ)) as conninfo:
            applied = asyncio.run(migrate(conninfo, COMPONENTS))
        click.echo(f"{applied} migrations applied" if applied else "the database is up to date")


@main.command(
    epilog=format_epilog("token --user usr_ana", "token --workspace ws_… --hours 8", exit_codes=OPERATOR_EXIT_CODES)
)
@click.option("--workspace", help="Workspace id (ws_…); a new one unless given.")
@click.option("--user", default="usr_developer", show_default=True, help="User id of the caller (the `sub` claim).")
@click.option("--hours", default=24, show_default=True, type=click.IntRange(1, 24 * 365), help="Lifetime in hours.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([str(scope) for scope in Scope]),
    metavar="SCOPE",
    help="Limit the token to a scope; may be repeated. Without it the token has all permissions of its user.",
)
def token(workspace: str | None, user: str, hours: int, scopes: tuple[str, ...]) -> None:
    """Print a development token (HS256), for `Authorization: Bearer`."""
    with exit_on_refusal():
        settings = load_settings(os.environ)
        workspace_id = uuid7() if workspace is None else parse_workspace_id(workspace)
        signed = sign_development_token(
            load_signing_secret(settings).reveal().encode(),
            workspace_claim=settings.identity.workspace_claim,
            workspace_id=workspace_id,
            user_id=user,
            now=utc_now(),
            lasts=timedelta(hours=hours),
            scope=" ".join(scopes) or None,
        )
        if workspace is None:
            option = f"--workspace {from_uuid('ws', workspace_id)}"
            click.echo(f"callsheet: created a workspace id; {option} creates another token for it", err=True)
        click.echo(signed)


def parse_workspace_id(text: str) -> UUID:
    """Parse a workspace id from the command line. Raises click.BadParameter."""
    try:
        return to_uuid("ws", text)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="'--workspace'") from None


@main.command(epilog=format_epilog("demo", "demo --all", exit_codes=OPERATOR_EXIT_CODES))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and the timeline to stderr.")
@click.option("--all", "every", is_flag=True, help="Run every example instead of the first one only.")
def demo(*, as_json: bool, every: bool) -> None:
    """Start all parts on a free port and run examples/product-launch.json over HTTP."""
    with exit_on_refusal():
        sys.exit(run_demo(load_settings(os.environ), as_json=as_json, every=every))


async def migrate_and_serve(
    settings: Settings,
    server: EmbeddedPostgres | str,
    parts: frozenset[Part],
    names: Sequence[str] = ALL_PROJECTIONS,
) -> None:
    """Migrate the database of an embedded server, or of a connection string; run the parts until SIGINT or SIGTERM."""
    embedded = None if isinstance(server, str) else server
    conninfo = server if isinstance(server, str) else server.conninfo
    await migrate(conninfo, COMPONENTS)
    await serve_parts(settings, conninfo, load_signing_secret(settings), parts, names, embedded=embedded)
