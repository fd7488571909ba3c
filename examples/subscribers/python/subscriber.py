"""Counts runs, and what models cost, by workflow and day, from the facts that Callsheet publishes on NATS.

Every event is counted once, across restarts and redeliveries: the event's id and what it adds are committed together in
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
from counts import EVERY_FACT, Counts, Taken, WrongFile
from nats.aio.client import Client
from nats.errors import Error, NoRespondersError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo
from nats.js.errors import NotFoundError
from printing import printed

BATCH = 200
ANSWER_SECONDS_MAX = 3.0
FETCH_SECONDS = 1.0
FETCH_ONCE_SECONDS = 0.1
BACK_OFF_SECONDS_MAX = 10.0
CANNOT_BEGIN = 2


class CannotBegin(Exception):
    """Something is missing or wrong, and waiting would not mend it."""


class Away(Exception):
    """The connection, the stream or the consumer is gone; it may come back."""


def say(text: str) -> None:
    """Tell people, on stderr: stdout is for the counts."""
    print(text, file=sys.stderr, flush=True)


async def subscribe(options: argparse.Namespace, counts: Counts, stop: asyncio.Event) -> None:
    """Count what comes until told to stop (or, with --once, until nothing is left), however often NATS goes away."""
    failures, begun = 0, False
    while not stop.is_set():
        try:
            async with connected(options) as client:
                jetstream = client.jetstream(timeout=ANSWER_SECONDS_MAX)
                await consumer(jetstream, options, counts)
                if not begun:
                    say(f"following {counts.subject} as {options.durable}")
                failures, begun = 0, True
                await follow(client, jetstream, options, counts, stop)
                return
        except (Away, Error, OSError, TimeoutError) as fault:
            if not begun:
                raise CannotBegin(f"NATS at {shown(options.nats_url)}: {fault or type(fault).__name__}") from fault
            failures += 1
            seconds = min(BACK_OFF_SECONDS_MAX, 0.1 * 2**failures) * random.uniform(0.5, 1.0)
            say(f"{fault or type(fault).__name__}; trying again in {seconds:.1f} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)


@asynccontextmanager
async def connected(options: argparse.Namespace) -> AsyncGenerator[Client]:
    """Hold one connection. It is not mended but replaced, so that the consumer is looked at after every loss."""

    async def told_by_nats(fault: Exception) -> None:
        """Say what we may not do; whatever else is wrong is told of by whoever uses the connection."""
        if "permissions violation" in str(fault).lower():
            say(str(fault))

    client = await nats.connect(
        options.nats_url,
        name=options.durable,
        allow_reconnect=False,
        max_reconnect_attempts=1,  # of each server, within the one attempt to connect
        reconnect_time_wait=0.1,
        connect_timeout=5,
        error_cb=told_by_nats,
        inbox_prefix=options.inbox_prefix.encode(),
    )
    try:
        yield client
    finally:
        await client.close()


async def consumer(jetstream: JetStreamContext, options: argparse.Namespace, counts: Counts) -> None:
    """Find the durable consumer, or make it: JetStream remembers in it what was acknowledged."""
    try:
        stream = await jetstream.stream_info(options.stream)
    except NoRespondersError as none:
        raise CannotBegin("this server has no JetStream") from none
    except NotFoundError as none:
        raise Away(
            f"there is no stream {options.stream}: `callsheet dev` or `project` makes it, with NATS_URL"
        ) from none
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
        raise CannotBegin(
            f"the consumer {options.durable} is for {info.config.filter_subject}: choose another --durable"
        )
    if counts.is_new() and acknowledged(info):
        raise CannotBegin(
            f"{options.database} is new, and the consumer {options.durable} has been given events that would not come "
            "again: choose another --durable, or have all that the stream keeps delivered again with --replay"
        )
    lost = stream.state.first_seq - 1 - (info.ack_floor.stream_seq if info.ack_floor else 0)
    if lost > 0:
        say(f"the stream no longer keeps {lost} messages that this consumer was not given: see --backfill")


async def consumer_info(jetstream: JetStreamContext, options: argparse.Namespace) -> ConsumerInfo | None:
    """Look at the consumer; None when there is none."""
    try:
        return await jetstream.consumer_info(options.stream, options.durable)
    except NotFoundError:
        return None


def acknowledged(info: ConsumerInfo) -> bool:
    """Tell whether anything was ever acknowledged."""
    return info.ack_floor is not None and info.ack_floor.consumer_seq > 0


async def follow(
    client: Client,
    jetstream: JetStreamContext,
    options: argparse.Namespace,
    counts: Counts,
    stop: asyncio.Event,
) -> None:
    """Fetch, commit, acknowledge, in this order: a crash between any two of them costs a delivery, and no count."""
    subscription = await jetstream.pull_subscribe_bind(options.durable, options.stream)
    wait_seconds = FETCH_ONCE_SECONDS if options.once else FETCH_SECONDS
    while not stop.is_set():
        try:
            messages = await subscription.fetch(BATCH, timeout=wait_seconds)
        except TimeoutError:
            messages = []
        if messages:
            told(counts.take(((message.headers or {}).get("Nats-Msg-Id", ""), message.data) for message in messages))
            for message in messages:
                await message.ack()
            if not options.once:
                continue
        if client.is_closed:
            raise Away("the connection was lost")
        info = await consumer_info(jetstream, options)
        if info is None:
            raise Away(f"the consumer {options.durable} is gone")
        if options.once and not info.num_pending and not info.num_ack_pending:
            return


def told(taken: Taken) -> None:
    """Say what came of a batch."""
    more = f", {taken.seen_before} seen before" if taken.seen_before else ""
    more += f", {taken.unreadable} that cannot be read" if taken.unreadable else ""
    say(f"position {taken.position}: {taken.counted} counted{more}")


def backfill(path: str, counts: Counts) -> None:
    """Count envelopes, one a line, as `callsheet events tail --json` prints them; those counted before add nothing."""
    with sys.stdin.buffer if path == "-" else Path(path).open("rb") as lines:
        of_scope = (line for line in lines if in_scope(line, counts.subject))
        while batch := [(f"line {line[:60]!r}", line) for line in islice(of_scope, BATCH)]:
            told(counts.take(batch))


def in_scope(line: bytes, subject: str) -> bool:
    """Tell whether a line is of the workspace that the file counts; what cannot be read may be."""
    if not line.strip() or subject == EVERY_FACT:
        return bool(line.strip())
    try:
        return bool(json.loads(line)["workspace"] == subject.split(".")[2])
    except (ValueError, KeyError, TypeError):
        return True


def shown(url: str) -> str:
    """Give a URL without the password that it may hold."""
    return url.rpartition("@")[2]


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="subscriber", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nats-url", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), help="or NATS_URL")
    parser.add_argument("--stream", default="CALLSHEET", help="the stream on JetStream")
    parser.add_argument("--workspace", help="only the facts of this workspace (ws_…)")
    parser.add_argument("--durable", help="the consumer's name; one consumer and one file belong together")
    parser.add_argument("--database", type=Path, help="the SQLite file with the counts; <durable>.db unless named")
    parser.add_argument(
        "--ack-wait-seconds", type=float, default=30.0, help="when the unacknowledged is delivered again"
    )
    parser.add_argument("--inbox-prefix", default="_INBOX", help="under which subject answers may come to us")
    parser.add_argument("--replay", action="store_true", help="have all that the stream keeps delivered once more")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="end when all that there is has been counted")
    how.add_argument("--report", action="store_true", help="only print what the file holds")
    how.add_argument("--backfill", metavar="FILE", help="count envelopes from a file, or from stdin (-), one a line")
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")
    options = parser.parse_args(arguments)
    options.durable = options.durable or f"analytics-python{'-' + options.workspace if options.workspace else ''}"
    options.database = options.database or Path(f"{options.durable}.db")
    return options


async def run(options: argparse.Namespace, counts: Counts) -> None:
    """Subscribe until Ctrl-C or SIGTERM; the batch under way is committed and acknowledged first."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await subscribe(options, counts, stop)


def main() -> int:
    """Do what the options say, and print the counts. Exits with 2 when it cannot begin."""
    options = options_of(sys.argv[1:])
    subject = f"callsheet.v1.{options.workspace}.>" if options.workspace else EVERY_FACT
    keep_scope = options.report or (options.backfill and options.database.exists())
    try:
        counts = Counts(options.database, None if keep_scope else subject)
        if options.backfill:
            backfill(options.backfill, counts)
        elif not options.report:
            asyncio.run(run(options, counts))
    except (CannotBegin, WrongFile, OSError, sqlite3.Error) as fault:
        say(f"subscriber: {fault}")
        return CANNOT_BEGIN
    printed(counts.report(), as_json=options.json)
    counts.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
