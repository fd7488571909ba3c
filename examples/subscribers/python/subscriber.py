"""Count runs and model cost by workflow and day, from the events that Callsheet publishes on NATS.

Each event is counted once, across restarts and redeliveries: the event's id and what it adds are committed together in
a SQLite file, and only then is the event acknowledged. docs/subscribing.md explains it step by step.
"""

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path

import nats
from counts import EVERY_FACT, BatchResult, Counts, WrongFile
from nats.aio.client import Client
from nats.errors import Error, NoRespondersError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, StreamInfo
from nats.js.errors import NotFoundError
from printing import print_report

BATCH = 200
ANSWER_SECONDS_MAX = 3.0
FETCH_SECONDS = 1.0
FETCH_ONCE_SECONDS = 0.1
BACK_OFF_SECONDS_MAX = 10.0
LOOK_SECONDS = 5.0
EXIT_CANNOT_START = 2


class CannotStart(Exception):
    """A requirement is missing or invalid, and retrying does not help."""


class Unavailable(Exception):
    """The connection, the stream or the consumer is gone; retry."""


def print_status(text: str) -> None:
    """Print to stderr; stdout is for the counts."""
    print(text, file=sys.stderr, flush=True)


async def subscribe(options: argparse.Namespace, counts: Counts, stop: asyncio.Event) -> None:
    """Count events until `stop` is set, or with --once until none is left. Reconnect when NATS goes away."""
    failures, has_started = 0, False
    while not stop.is_set():
        try:
            async with open_connection(options) as client:
                jetstream = client.jetstream(timeout=ANSWER_SECONDS_MAX)
                await ensure_consumer(jetstream, options, counts)
                if not has_started:
                    print_status(f"following {counts.subject} as {options.durable}")
                failures, has_started = 0, True
                await consume_messages(client, jetstream, options, counts, stop)
                return
        except (Unavailable, Error, OSError, TimeoutError) as fault:
            if not has_started:
                raise CannotStart(
                    f"NATS at {hide_password(options.nats_url)}: {fault or type(fault).__name__}"
                ) from fault
            failures += 1
            seconds = min(BACK_OFF_SECONDS_MAX, 0.1 * 2**failures) * random.uniform(0.5, 1.0)
            print_status(f"{fault or type(fault).__name__}; trying again in {seconds:.1f} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)


@asynccontextmanager
async def open_connection(options: argparse.Namespace) -> AsyncGenerator[Client]:
    """Yield a connection. A lost one is replaced, not repaired, so that the consumer is checked after every loss."""

    async def print_missing_permissions(fault: Exception) -> None:
        """Print missing permissions. Other errors are raised where the connection is used."""
        if "permissions violation" in str(fault).lower():
            print_status(str(fault))

    client = await nats.connect(
        options.nats_url,
        name=options.durable,
        allow_reconnect=False,
        max_reconnect_attempts=1,  # of each server, within the one attempt to connect
        reconnect_time_wait=0.1,
        connect_timeout=5,
        error_cb=print_missing_permissions,
        inbox_prefix=options.inbox_prefix.encode(),
    )
    try:
        yield client
    finally:
        await client.close()


async def ensure_consumer(jetstream: JetStreamContext, options: argparse.Namespace, counts: Counts) -> None:
    """Find or create the durable consumer, in which JetStream remembers what was acknowledged."""
    try:
        stream = await jetstream.stream_info(options.stream)
    except NoRespondersError as none:
        raise CannotStart("JetStream is not enabled on this server") from none
    except NotFoundError as none:
        raise Unavailable(
            f"there is no stream {options.stream}: `callsheet dev` or `project` makes it, with NATS_URL"
        ) from none
    learn_epochs(stream, counts)
    info = await consumer_info(jetstream, options)
    if info is not None and options.replay:
        await jetstream.delete_consumer(options.stream, options.durable)
        options.replay, info = False, None
    if info is None:
        info = await jetstream.add_consumer(
            options.stream,
            ConsumerConfig(
                name=options.durable,
                durable_name=options.durable,
                filter_subject=counts.subject,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=options.ack_wait_seconds,
            ),
        )
    if info.config.filter_subject != counts.subject:
        raise CannotStart(
            f"the consumer {options.durable} is for {info.config.filter_subject}: choose another --durable"
        )
    if counts.is_new() and has_acknowledged(info):
        raise CannotStart(
            f"{options.database} is new, and the consumer {options.durable} has already received events that are not "
            "sent again: choose another --durable, or use --replay to receive everything in the stream again"
        )
    lost = stream.state.first_seq - 1 - (info.ack_floor.stream_seq if info.ack_floor else 0)
    if lost > 0:
        print_status(f"the stream no longer keeps {lost} messages that this consumer did not receive: see --backfill")


def learn_epochs(stream: StreamInfo, counts: Counts) -> None:
    """Read the epochs of the log from the stream: with a filter there may be no event of a new one for long."""
    metadata = stream.config.metadata or {}
    log, epochs = metadata.get("callsheet-log", ""), metadata.get("callsheet-epochs", "")
    pairs = (pair.partition(":") for pair in epochs.split())
    removed = counts.learn_epochs(log[-12:], [(epoch, int(after)) for epoch, _, after in pairs])
    if removed:
        print_status(f"the log was restored: {removed} events are no longer in it, and no longer counted")


async def consumer_info(jetstream: JetStreamContext, options: argparse.Namespace) -> ConsumerInfo | None:
    """Return the consumer, or None if it does not exist."""
    try:
        return await jetstream.consumer_info(options.stream, options.durable)
    except NotFoundError:
        return None


def has_acknowledged(info: ConsumerInfo) -> bool:
    """Return whether any message was ever acknowledged."""
    return info.ack_floor is not None and info.ack_floor.consumer_seq > 0


async def consume_messages(
    client: Client,
    jetstream: JetStreamContext,
    options: argparse.Namespace,
    counts: Counts,
    stop: asyncio.Event,
) -> None:
    """Fetch, commit, acknowledge, in this order: a crash in between costs a redelivery, never a count."""
    subscription = await jetstream.pull_subscribe_bind(options.durable, options.stream)
    wait_seconds = FETCH_ONCE_SECONDS if options.once else FETCH_SECONDS
    looked_at = asyncio.get_running_loop().time()
    while not stop.is_set():
        try:
            messages = await subscription.fetch(BATCH, timeout=wait_seconds)
        except TimeoutError:
            messages = []
        if messages:
            print_result(
                counts.apply_batch(
                    ((message.headers or {}).get("Nats-Msg-Id", ""), message.data) for message in messages
                )
            )
            for message in messages:
                await message.ack()
            if not options.once:
                continue
        if asyncio.get_running_loop().time() - looked_at > LOOK_SECONDS:
            looked_at = asyncio.get_running_loop().time()
            learn_epochs(await jetstream.stream_info(options.stream), counts)
        if client.is_closed:
            raise Unavailable("the connection was lost")
        info = await consumer_info(jetstream, options)
        if info is None:
            raise Unavailable(f"the consumer {options.durable} is gone")
        if options.once and not info.num_pending and not info.num_ack_pending:
            return


def print_result(taken: BatchResult) -> None:
    """Print the result of a batch."""
    more = f", {taken.seen_before} seen before" if taken.seen_before else ""
    more += f", {taken.removed} removed by a restore" if taken.removed else ""
    more += f", {taken.unreadable} unreadable" if taken.unreadable else ""
    print_status(f"position {taken.position}: {taken.counted} counted{more}")
    if taken.missing:
        print_status(
            f"{taken.missing} positions from {taken.missing_from} on have not been delivered: unless they come later, "
            f"`callsheet events tail --from {taken.missing_from} --json` shows them, and --backfill counts them"
        )


def backfill(path: str, counts: Counts) -> None:
    """Count envelopes, one per line, as `callsheet events tail --json` prints them. Duplicates add nothing."""
    with sys.stdin.buffer if path == "-" else Path(path).open("rb") as lines:
        lines_in_scope = (line for line in lines if is_in_scope(line, counts.subject))
        while batch := [(f"line {line[:60]!r}", line) for line in islice(lines_in_scope, BATCH)]:
            print_result(counts.apply_batch(batch))


def is_in_scope(line: bytes, subject: str) -> bool:
    """Return whether a line belongs to the file's workspace. Unreadable lines count as belonging."""
    if not line.strip() or subject == EVERY_FACT:
        return bool(line.strip())
    try:
        return bool(json.loads(line)["workspace"] == subject.split(".")[2])
    except (ValueError, KeyError, TypeError):
        return True


def hide_password(url: str) -> str:
    """Return a URL without its user and password."""
    return url.rpartition("@")[2]


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="subscriber", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nats-url", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), help="or NATS_URL")
    parser.add_argument("--stream", default="CALLSHEET", help="the JetStream stream")
    parser.add_argument("--workspace", help="only the facts of this workspace (ws_…)")
    parser.add_argument("--durable", help="the consumer's name; use one consumer per file")
    parser.add_argument("--database", type=Path, help="the SQLite file with the counts; default <durable>.db")
    parser.add_argument(
        "--ack-wait-seconds", type=float, default=30.0, help="time until unacknowledged messages are redelivered"
    )
    parser.add_argument("--inbox-prefix", default="_INBOX", help="the subject prefix of replies")
    parser.add_argument("--replay", action="store_true", help="have everything in the stream delivered again")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="end when everything has been counted")
    how.add_argument("--report", action="store_true", help="only print the counts of the file")
    how.add_argument("--backfill", metavar="FILE", help="count envelopes from a file, or from stdin (-), one per line")
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")
    options = parser.parse_args(arguments)
    options.durable = options.durable or f"analytics-python{'-' + options.workspace if options.workspace else ''}"
    options.database = options.database or Path(f"{options.durable}.db")
    return options


async def run(options: argparse.Namespace, counts: Counts) -> None:
    """Subscribe until Ctrl-C or SIGTERM. The current batch is committed and acknowledged first."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await subscribe(options, counts, stop)


def main() -> int:
    """Run the command and print the counts. Return 0, or 2 if it cannot start."""
    options = parse_options(sys.argv[1:])
    subject = f"callsheet.v1.{options.workspace}.>" if options.workspace else EVERY_FACT
    keep_scope = options.report or (options.backfill and options.database.exists())
    try:
        counts = Counts(options.database, None if keep_scope else subject)
        if options.backfill:
            backfill(options.backfill, counts)
        elif not options.report:
            asyncio.run(run(options, counts))
    except (CannotStart, WrongFile, OSError, sqlite3.Error) as fault:
        print_status(f"subscriber: {fault}")
        return EXIT_CANNOT_START
    print_report(counts.report(), as_json=options.json)
    counts.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
