"""The load client of `bench runs` and `http`, a process of its own: raw sockets, one request at a time on each.

It reads one ClientLoad from stdin, and writes to stdout a line when its warm-up is over, a line when its time is over,
and at last, when the last answer is in, a ClientReport. A general HTTP client would take more of the machine than the
server that is measured.
"""

import asyncio
import sys
import time
from typing import Final, cast

import msgspec
import uvloop
from msgspec import Struct

from bench.harness.figures import Figures, figures

STATUS_LINE: Final = "HTTP/1.1 {} "
COUNTER: Final = b"{{{counter}}}"
LENGTH: Final = b"content-length:"
END_OF_HEAD: Final = b"\r\n\r\n"
FAILURES_TOLD: Final = 5
ANSWER_SECONDS_MAX: Final = 30
BEGAN: Final = "began"
ENDED: Final = "ended"


class ClientLoad(Struct, frozen=True, kw_only=True):
    """One prepared request, sent repeatedly on `in_flight` connections.

    `COUNTER` in the request is replaced by the number of the request. The answer must have `expected_status`, and be a
    completed run if `expects_run`.
    """

    host: str
    port: int
    request: str
    in_flight: int
    warm_up_seconds: float
    seconds: float
    expected_status: int = 200
    expects_run: bool = True


class ClientReport(Struct, frozen=True, kw_only=True):
    """The result. Figures cover the time after the warm-up, counts everything that was sent."""

    figures: Figures
    client_cpu: float
    completed: int
    failed: int
    failures: list[str]


class Answer(Struct, frozen=True):
    """The fields of a run that the client reads."""

    id: str
    status: str


class Tally:
    """Counts the responses of all connections."""

    def __init__(self, expected_status: int = 200, *, expects_run: bool = True) -> None:
        """Start at zero; counting begins when the warm-up ends. What is expected is as in `ClientLoad`."""
        self._expected = STATUS_LINE.format(expected_status).encode()
        self._expects_run = expects_run
        self._sent = 0
        self.sending = True
        self.counting = False
        self.latencies: list[float] = []
        self.completed = 0
        self.failed = 0
        self.failures: list[str] = []
        self._decoder = msgspec.json.Decoder(Answer)

    def count_response(self, head: bytes, body: bytes, seconds: float) -> None:
        """Count a response: an expected one, or a failure."""
        try:
            completed = head.startswith(self._expected) and (
                not self._expects_run or self._decoder.decode(body).status == "completed"
            )
        except msgspec.MsgspecError:
            completed = False
        if not completed:
            self.fail((head + END_OF_HEAD + body).decode(errors="replace")[:1_000])
            return
        self.completed += 1
        if self.counting:
            self.latencies.append(seconds)

    def number_request(self) -> bytes:
        """Return the number of the next request, always of the same length."""
        self._sent += 1
        return b"%0*d" % (len(COUNTER), self._sent)

    def fail(self, reason: str) -> None:
        """Count a failure and keep the first few messages."""
        self.failed += 1
        if len(self.failures) < FAILURES_TOLD:
            self.failures.append(reason)


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight (HTTP/1.1, RFC 9112, bodies by Content-Length)."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        """Create it; it sends as soon as it is connected."""
        before, _, after = request.partition(COUNTER)
        self._request = request
        self._numbered = (before, after) if len(before) < len(request) else None
        self._tally = tally
        self._received = b""
        self._begun = 0.0
        self._waiting = False
        self._transport: asyncio.WriteTransport | None = None
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        # Not asked with isinstance: uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send(self._transport)

    def data_received(self, data: bytes) -> None:
        """Buffer a piece of a response; once it is complete, count it and send the next request."""
        received = self._received + data if self._received else data
        end = received.find(END_OF_HEAD)
        body_at = end + len(END_OF_HEAD)
        if end < 0 or len(received) < body_at + content_length(received[:end]):
            self._received = received
            return
        self._received = b""
        self._waiting = False
        self._tally.count_response(received[:end], received[body_at:], time.perf_counter() - self._begun)
        if self._transport is None:
            return
        if self._tally.sending:
            self._send(self._transport)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the connection; a missing response is a failure."""
        if self._waiting:
            self._tally.fail(f"connection lost before the answer: {exc}")
        if not self.done.done():
            self.done.set_result(None)

    def _send(self, transport: asyncio.WriteTransport) -> None:
        self._waiting = True
        self._begun = time.perf_counter()
        if self._numbered is None:
            transport.write(self._request)
        else:
            before, after = self._numbered
            transport.write(before + self._tally.number_request() + after)


def content_length(head: bytes) -> int:
    """Return the Content-Length of a response head; 0 if it has none."""
    lower = head.lower()
    at = lower.find(LENGTH)
    if at < 0:
        return 0
    return int(lower[at + len(LENGTH) :].split(b"\r\n", 1)[0])


async def drive(load: ClientLoad) -> ClientReport:
    """Send the load and return the report."""
    tally = Tally(load.expected_status, expects_run=load.expects_run)
    loop = asyncio.get_running_loop()
    request = load.request.encode()
    opened = [
        loop.create_connection(lambda: Connection(request, tally), load.host, load.port) for _ in range(load.in_flight)
    ]
    connections = [protocol for _, protocol in await asyncio.gather(*opened)]
    await asyncio.sleep(load.warm_up_seconds)
    write_line(BEGAN)
    tally.counting = True
    cpu_before, begun = time.process_time(), time.perf_counter()
    await asyncio.sleep(load.seconds)
    tally.counting = tally.sending = False
    elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu_before
    write_line(ENDED)
    _, unanswered = await asyncio.wait([connection.done for connection in connections], timeout=ANSWER_SECONDS_MAX)
    for _ in unanswered:
        tally.fail(f"no answer within {ANSWER_SECONDS_MAX} s")
    return ClientReport(
        figures=figures(tally.latencies, elapsed),
        client_cpu=round(cpu / elapsed, 2),
        completed=tally.completed,
        failed=tally.failed,
        failures=tally.failures,
    )


def write_line(line: str) -> None:
    """Write a line for the parent process."""
    print(line, flush=True)


def main() -> None:
    """Run the load read from stdin."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=ClientLoad)
    write_line(msgspec.json.encode(uvloop.run(drive(load))).decode())


if __name__ == "__main__":
    main()
