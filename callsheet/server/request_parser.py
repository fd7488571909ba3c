"""A strict parser of HTTP/1.1 requests (RFC 9112), without I/O.

Everything that two readers of one connection could read in two ways is rejected: lengths sent twice, a length beside a
transfer coding, lines that end in a bare LF, folded lines, spaces before a colon. `Upgrade` means nothing to the
parser, so that a body beside it is read like any other; `callsheet/server/upgrade.py` recognises the one request that
becomes a WebSocket. docs/decisions/0034 has the alternatives with their cost.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from msgspec import Struct

from gateway.http.rejections import HeadTooLarge, Malformed

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.([01])")
FIELD_LINES: Final = re.compile(rb"(?:" + TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")
BARE_LF: Final = re.compile(rb"(?<!\r)\n")
LENGTH: Final = re.compile(rb"[0-9]{1,18}")
CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
CHUNK_LINE_BYTES_MAX: Final = 256
LINE_END: Final = b"\r\n"

Header = tuple[bytes, bytes]
Step = Callable[[bytes, int], Iterator["Event"]]


class Head(Struct, frozen=True, gc=False):
    """The head of a request; header names are in lower case."""

    method: bytes
    target: bytes
    version: str
    headers: list[Header]
    keep_alive: bool
    expects_continue: bool


class Body(Struct, frozen=True, gc=False):
    """A piece of a body."""

    data: bytes


class End(Struct, frozen=True, gc=False):
    """The end of a request."""


Event = Head | Body | End
END: Final = End()


class Framing(Struct, frozen=True, gc=False):
    """End of a request body: after `length` bytes, or after the last chunk (None)."""

    length: int | None


class RequestParser:
    """Parses the bytes of one connection. After it has raised, the connection cannot be read on."""

    def __init__(self, *, head_bytes_max: int, headers_max: int) -> None:
        """Create a parser at the beginning of a connection."""
        self._head_bytes_max = head_bytes_max
        self._headers_max = headers_max
        self._kept = b""
        self._pending = b""
        self._searched = 0
        self._position = 0
        self._remaining = 0
        self._read: Step = self._read_head
        self.is_in_body = False

    @property
    def is_in_head(self) -> bool:
        """Return whether a head has begun and not ended."""
        return not self.is_in_body and bool(self._kept.lstrip(LINE_END))

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events of the next bytes. Raises Malformed, HeadTooLarge."""
        pending = self._pending = self._kept + data if self._kept else data
        self._position = 0
        end = len(pending)
        while self._position < end:
            before, step = self._position, self._read
            yield from step(pending, before)
            if self._position == before and self._read == step:
                break  # needs more bytes
        self._kept = pending[self._position :]
        self._pending = b""

    def take_rest(self) -> bytes:
        """Return the bytes that follow the head that `feed` has just yielded; then nothing can be parsed any more."""
        rest, self._pending, self._kept = self._pending[self._position :], b"", b""
        return rest

    def _read_head(self, pending: bytes, start: int) -> Iterator[Event]:
        while pending.startswith(LINE_END, start):  # RFC 9112, section 2.2
            start += 2
            self._position = start
        end = pending.find(b"\r\n\r\n", start + max(0, self._searched - 3))
        self._check_head_size(pending, start, end)
        if end < 0:
            return
        self._searched = 0
        head = parse_head(pending[start : end + 2], self._headers_max)
        check_host_count(head)
        framing = find_framing(head)
        self._position = end + 4
        yield head
        if framing.length == 0:
            yield END
            return
        self.is_in_body = True
        if framing.length is None:
            self._read = self._read_chunk_line
        else:
            self._remaining = framing.length
            self._read = self._read_fixed

    def _check_head_size(self, pending: bytes, start: int, end: int) -> None:
        """Raise HeadTooLarge or Malformed as soon as an unfinished head is known to be wrong."""
        size = (end if end >= 0 else len(pending)) - start
        if size > self._head_bytes_max:
            raise HeadTooLarge
        if end < 0:
            if BARE_LF.search(pending, start + max(0, self._searched - 1)):
                raise Malformed("Lines of the head must end in CR LF.")
            self._searched = size

    def _read_fixed(self, pending: bytes, start: int) -> Iterator[Event]:
        data = pending[start : start + self._remaining]
        self._position = start + len(data)
        self._remaining -= len(data)
        yield Body(data)
        if self._remaining == 0:
            yield self._end_request()

    def _read_chunk_line(self, pending: bytes, start: int) -> Iterator[Event]:
        end = pending.find(LINE_END, start, start + CHUNK_LINE_BYTES_MAX)
        if end < 0:
            if len(pending) - start >= CHUNK_LINE_BYTES_MAX or BARE_LF.search(pending, start):
                _reject_chunk()
            return
        found = CHUNK_LINE.fullmatch(pending, start, end)
        if found is None:
            _reject_chunk()
        self._position = end + 2
        self._remaining = int(found[1], 16)
        self._read = self._read_chunk if self._remaining else self._read_trailers
        yield from ()

    def _read_chunk(self, pending: bytes, start: int) -> Iterator[Event]:
        data = pending[start : start + self._remaining]
        self._position = start + len(data)
        self._remaining -= len(data)
        if not self._remaining:
            self._read = self._read_chunk_end
        yield Body(data)

    def _read_chunk_end(self, pending: bytes, start: int) -> Iterator[Event]:
        if not LINE_END.startswith(pending[start : start + 2]):
            _reject_chunk()
        if len(pending) - start >= len(LINE_END):
            self._position = start + 2
            self._read = self._read_chunk_line
        yield from ()

    def _read_trailers(self, pending: bytes, start: int) -> Iterator[Event]:
        """Read the trailer section, which is checked and then dropped."""
        last = pending.startswith(LINE_END, start)
        end = start if last else pending.find(b"\r\n\r\n", start)
        if end < 0:
            if len(pending) - start > self._head_bytes_max:
                raise HeadTooLarge
            if BARE_LF.search(pending, start):
                _reject_chunk()
            return
        if not last:
            parse_fields(pending[start : end + 2], self._headers_max)
        self._position = end + (2 if last else 4)
        yield self._end_request()

    def _end_request(self) -> End:
        self.is_in_body = False
        self._read = self._read_head
        return END


def parse_head(head: bytes, headers_max: int) -> Head:
    """Parse a head without its empty line. Raises Malformed, HeadTooLarge."""
    line_end = head.find(LINE_END)
    found = REQUEST_LINE.fullmatch(head, 0, line_end)
    if found is None:
        raise Malformed("The first line must be `METHOD /path HTTP/1.1`.")
    headers = parse_fields(head[line_end + 2 :], headers_max)
    is_persistent = found[3] == b"1"
    expects_continue = False
    for name, value in headers:
        if name == b"connection":
            is_persistent = is_persistent and b"close" not in (token.strip() for token in value.lower().split(b","))
        elif name == b"expect":
            expects_continue = value.lower() == b"100-continue"
    return Head(found[1], found[2], f"1.{found[3].decode()}", headers, is_persistent, expects_continue)


def parse_fields(lines: bytes, headers_max: int) -> list[Header]:
    """Parse header lines, each with its line end. Raises Malformed, HeadTooLarge."""
    if FIELD_LINES.fullmatch(lines) is None:
        raise Malformed("A header line must be `Name: value`, without folding, control characters or a bare LF.")
    if not lines:
        return []
    split = lines[:-2].split(LINE_END)
    if len(split) > headers_max:
        raise HeadTooLarge(f"A request must not have more than {headers_max} header lines.")
    headers: list[Header] = []
    for line in split:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    return headers


def find_framing(head: Head) -> Framing:
    """Return how the body ends (RFC 9112, section 6.3). Raises Malformed for whatever is ambiguous."""
    lengths = [value for name, value in head.headers if name == b"content-length"]
    codings = [value for name, value in head.headers if name == b"transfer-encoding"]
    if codings:
        if lengths:
            raise Malformed("`Content-Length` and `Transfer-Encoding` must not be sent together.")
        if head.version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Malformed("`Transfer-Encoding` must be `chunked`, sent once, in HTTP/1.1.")
        return Framing(None)
    if not lengths:
        return Framing(0)
    if len(lengths) > 1 or LENGTH.fullmatch(lengths[0]) is None:
        raise Malformed("`Content-Length` must be sent once, as decimal digits.")
    return Framing(int(lengths[0]))


def check_host_count(head: Head) -> None:
    """Raise Malformed unless `Host` is sent once; HTTP/1.0 does not require it (RFC 9112, section 3.2)."""
    hosts = sum(name == b"host" for name, _ in head.headers)
    if hosts != 1 and not (hosts == 0 and head.version == "1.0"):
        raise Malformed("`Host` must be sent exactly once.")


def split_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return the path and the query of a request target (RFC 9112, section 3.2). Raises Malformed."""
    lowered = target[:8].lower()
    if lowered.startswith((b"http://", b"https://")):
        authority, slash, path = target.partition(b"://")[2].partition(b"/")
        if b"?" in authority:
            raise Malformed("The request target must have a path.")
        target = slash + path or b"/"
    is_path = target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")
    if not is_path or b"#" in target:
        raise Malformed("The request target must be a path that starts with `/`, without a fragment.")
    path, _, query = target.partition(b"?")
    return path, query


def _reject_chunk() -> NoReturn:
    raise Malformed("The body is not in chunks as RFC 9112, section 7.1 describes them.")
