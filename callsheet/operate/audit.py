"""`callsheet audit`: keys that seal the log, verification of a log against its seals, and exports with proofs."""

# The decorators of click are typed in part only.
# pyright: reportUnknownMemberType=false

import secrets
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from callsheet.help_text import OPERATOR_EXIT_CODES, format_epilog
from callsheet.operate.asking import load_operator_settings, query_database
from callsheet.operate.printing import ATTENTION, count, json_option, print_json
from callsheet.startup import exit_on_refusal
from callsheet.wiring.seals import load_signers
from domain.ids import to_uuid
from store.log.queries import LogFilter
from store.seals.export import NothingSealed, export_log
from store.seals.notes import KEY_BYTES, NoteInvalid, SignerKey, VerifierKey
from store.seals.seal_store import Connection
from store.seals.verify import LogVerified, Verification

KEY_NAME: Final = "callsheet"


@click.group()
def audit() -> None:
    """Prove what happened: seal keys, verification, and exports with proofs."""


@audit.command(epilog=format_epilog("audit key --name callsheet", exit_codes=OPERATOR_EXIT_CODES))
@click.option("--name", default=KEY_NAME, show_default=True, help="Name of the signer, such as a host name.")
def key(*, name: str) -> None:
    """Print a new private key for CALLSHEET_SEAL_KEY_FILE, and on standard error the public key for auditors."""
    try:
        signer = SignerKey(name, secrets.token_bytes(KEY_BYTES))
    except NoteInvalid as fault:
        raise click.BadParameter(str(fault), param_hint="--name") from None
    click.echo(signer.format())
    click.echo(f"public key: {signer.verifier.format()}", err=True)


@audit.command(
    epilog=format_epilog(
        "audit verify",
        "audit verify --json",
        exit_codes=f"{OPERATOR_EXIT_CODES}; also 1 when something is not as it was sealed",
    )
)
@click.option("--key", "keys", multiple=True, help="A public key that is trusted; default: those of the seal key file.")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A signed checkpoint that was kept elsewhere: finds a log that was rewritten as a whole.",
)
@json_option
def verify(*, keys: tuple[str, ...], checkpoints: tuple[Path, ...], as_json: bool) -> None:
    """Hash every event of the log again, compare with what was sealed and signed, and locate each difference."""
    notes = [path.read_text() for path in checkpoints]

    async def examine(connection: Connection) -> LogVerified:
        with show_progress("verifying") as tell:
            return await Verification(connection, trusted, notes, tell).run()

    with exit_on_refusal():
        trusted = parse_keys(keys) or [signer.verifier for signer in load_signers(load_operator_settings())]
        found = query_database(examine)
    if as_json:
        print_json(found)
    else:
        _print_verified(found)
    sys.exit(1 if found.divergences else 0)


def _print_verified(found: LogVerified) -> None:
    click.echo(f"{found.origin}: {count(found.checked)} events were hashed and compared with what was sealed.")
    click.echo(f"The root {found.root} was held against {count(found.checkpoints)} signed checkpoints.")
    if found.unsealed:
        click.echo(f"{count(found.unsealed)} later events are not sealed yet.")
    for divergence in found.divergences:
        where = "" if divergence.position is None else f"position {divergence.position}: "
        click.echo(f"NOT as sealed: {where}{divergence.what}")
    if found.more:
        click.echo(f"… and {count(found.more)} more differences.")
    if not found.divergences:
        click.echo("Everything is as it was sealed.")


@audit.command(
    epilog=format_epilog(
        "audit export log.jsonl",
        "audit export --project prj_… project.jsonl",
        exit_codes=f"{OPERATOR_EXIT_CODES}, {ATTENTION} nothing is sealed yet",
    )
)
@click.option("--project", help="Only the events of this project (prj_…), each with its proof.")
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
def export(*, project: str | None, file: Path) -> None:
    """Write the sealed events with proofs to FILE: `examples/verify_export.py` checks it without the server."""
    only = LogFilter(project_id=_parse_project(project))

    async def write(connection: Connection) -> None:
        with file.open("xb") as output, show_progress("exporting") as tell:
            async for line in export_log(connection, only, tell):
                output.write(line)

    with exit_on_refusal():
        try:
            query_database(write)
        except NothingSealed as fault:
            file.unlink()
            click.echo(str(fault), err=True)
            sys.exit(ATTENTION)
        except FileExistsError:
            raise click.BadParameter(f"{file} exists; choose another name", param_hint="FILE") from None


def _parse_project(text: str | None) -> UUID | None:
    try:
        return None if text is None else to_uuid("prj", text)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--project") from None


def parse_keys(texts: tuple[str, ...]) -> list[VerifierKey]:
    """Return public keys. Raises click.BadParameter."""
    try:
        return [VerifierKey.parse(text) for text in texts]
    except NoteInvalid as fault:
        raise click.BadParameter(str(fault), param_hint="--key") from None


@contextmanager
def show_progress(description: str) -> Generator[Callable[[int, int], None]]:
    """Draw a progress bar on standard error until the end of the block, if it is a terminal."""
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=max(1, total))
