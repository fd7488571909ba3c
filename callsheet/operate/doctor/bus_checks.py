"""Checks of the relay and of the stream that it publishes to."""

# nats-py is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import AsyncIterator
from typing import Final

from bus.nats.relay_status import read_relay_status
from bus.nats.stream_witness import StreamHealth, fetch_stream_health
from callsheet.operate.doctor.findings import Finding, find_ok, find_wrong
from callsheet.operate.printing import count, format_duration
from callsheet.settings.load import Settings
from store.log.epochs import Connection, LogState, find_rewind

LAG_SECONDS_MAX: Final = 10.0


async def check_bus(connection: Connection, settings: Settings, state: LogState) -> AsyncIterator[Finding]:
    """Yield what is found about the relay and its stream; nothing but a word if NATS is not used."""
    if settings.nats.url is None:
        yield find_ok("relay", "NATS_URL is not set: nothing is relayed.")
        return
    relay = await read_relay_status(connection)
    if relay.holder is None:
        says = f"No process relays; {count(relay.lag_events)} events are not published."
        yield find_wrong("relay", says, "Start `callsheet project` with NATS_URL.")
    elif relay.lag_seconds > LAG_SECONDS_MAX:
        says = f"The relay is {format_duration(relay.lag_seconds)} and {count(relay.lag_events)} events behind."
        yield find_wrong("relay", says, f"See the log of the process {relay.holder.process}.")
    else:
        yield find_ok("relay", f"{relay.holder.process} relays, {count(relay.lag_events)} events behind.")
    health = await fetch_stream_health(settings.nats, "callsheet doctor")
    yield await _check_stream(connection, settings.nats.stream, state, health)


async def _check_stream(connection: Connection, name: str, state: LogState, health: StreamHealth | None) -> Finding:
    if health is None:
        return find_wrong("stream", f"The stream {name} cannot be read.", "Check that NATS runs with JetStream.")
    if health.witness is None:
        if state.head:
            says = f"None of the last messages of the stream {name} is a fact."
            return find_wrong("stream", says, "Find out who publishes to callsheet.v1.> besides the relay.")
        return find_ok("stream", f"The stream {name} is empty, as the log is.")
    if health.witness.log_id != state.identity.log_id:
        says = f"The stream {name} has facts of another log, {health.witness.log_id}."
        return find_wrong("stream", says, "Use one NATS account, or CALLSHEET_NATS_STREAM, per log.")
    rewind = await find_rewind(connection, state, health.witness)
    if rewind is not None:
        says = f"The log was rewound and no epoch has begun: {rewind.reason}."
        return find_wrong("stream", says, "Start any process of Callsheet, or run `callsheet recover`.")
    return find_ok("stream", f"The stream {name} has {count(health.messages)} messages, and its last is in the log.")
