"""Compare the log with its witnesses outside of the database, before a process uses it."""

import asyncio
import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from bus.nats.stream_witness import fetch_last_witness
from callsheet.development_secret import make_directory
from callsheet.settings.load import Settings, SettingsUnusable
from store.log.epochs import Witness
from store.log.identity import LogIdentity
from store.log.log import Log
from store.outage_log import OutageLog

SUFFIX: Final = ".checkpoint.json"

_decoder: Final = msgspec.json.Decoder(Witness)


def find_checkpoint_file(directory: Path, identity: LogIdentity) -> Path:
    """Return the checkpoint file of a log in a data directory: it holds the last known fact of the log."""
    return directory / f"log-{identity.epochs[0].tag}{SUFFIX}"


async def reconcile_log(log: Log, settings: Settings, name: str, remembered: Sequence[Witness] = ()) -> LogIdentity:
    """Begin an epoch of the log if the relay's stream, the checkpoint file or `remembered` knows more than it has.

    Raises Unavailable.
    """
    witnesses = [*remembered, *collect_file_witnesses(settings, log.identity)]
    if settings.nats.url is not None:
        stream = await fetch_last_witness(settings.nats, f"callsheet {name}")
        witnesses += [] if stream is None else [stream]
    return await log.reconcile(witnesses, time.time_ns() // 1_000_000)


def collect_file_witnesses(settings: Settings, identity: LogIdentity) -> list[Witness]:
    """Return the witness in the checkpoint file, if the file exists and can be read."""
    path = find_checkpoint_file(settings.data.directory, identity)
    witness = read_checkpoint(path)
    return [] if witness is None else [witness]


def read_checkpoint(path: Path) -> Witness | None:
    """Return the witness in a checkpoint file; None if there is no file, or with a warning if it cannot be read."""
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as fault:
        structlog.get_logger("callsheet").warning("log.checkpoint_unreadable", path=str(path), reason=str(fault))
        return None


async def keep_checkpoint(log: Log, settings: Settings) -> None:
    """Write the last known fact of the log to the checkpoint file until cancelled, and once more then."""
    path = find_checkpoint_file(settings.data.directory, log.identity)
    written: Witness | None = None
    outages = OutageLog("callsheet", lost="log.checkpoint_not_written", back="log.checkpoint_written", path=str(path))
    try:
        while True:
            await asyncio.sleep(settings.data.checkpoint_seconds)
            witness = log.create_witness(f"the checkpoint file {path}")
            if witness is None or witness == written:
                continue
            try:
                await asyncio.to_thread(write_checkpoint, path, witness, log.identity)
            except (OSError, SettingsUnusable) as fault:
                outages.note_failure(str(fault))
                continue
            outages.note_success()
            written = witness
    finally:
        witness = log.create_witness(f"the checkpoint file {path}")
        if witness is not None and witness != written and not outages.is_away:
            try:
                write_checkpoint(path, witness, log.identity)
            except (OSError, SettingsUnusable) as fault:
                outages.note_failure(str(fault))


def write_checkpoint(path: Path, witness: Witness, identity: LogIdentity) -> None:
    """Replace a checkpoint file, unless another process has written one that is further. One writes at a time.

    Raises OSError, SettingsUnusable.
    """
    make_directory(path.parent)
    with path.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = read_checkpoint(path)
        if there is None or is_further(witness, there, identity):
            _replace_file(path, msgspec.json.format(msgspec.json.encode(witness)))


def _replace_file(path: Path, content: bytes) -> None:
    """Replace a file durably, by a new one beside it."""
    new = path.with_name(f"{path.name}.new")  # the lock is held: nobody else writes it, and a killed writer's is reused
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def is_further(witness: Witness, there: Witness, identity: LogIdentity) -> bool:
    """Return whether a witness is of a later epoch than another, or further in the same one."""
    if witness.tag != there.tag:
        return identity.is_later(witness.tag, than=there.tag)
    return witness.mark.position > there.mark.position
