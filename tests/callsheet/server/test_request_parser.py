"""The parser of requests: any split of the bytes yields the same, and what it accepts h11 reads in the same way."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.server.request_parser import Body, Head, RequestParser
from gateway.http.rejections import Rejection

Parsed = list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]]


def parse(pieces: list[bytes]) -> tuple[Parsed, bool]:
    """Return the requests of pieces, and whether the connection was rejected."""
    parser = RequestParser(head_bytes_max=64 * 1024, headers_max=100)
    requests: Parsed = []
    head: Head | None = None
    body = b""
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                match event:
                    case Head():
                        head, body = event, b""
                    case Body(data=data):
                        body += data
                    case _:
                        assert head is not None
                        requests.append((head.method, head.target, head.headers, body))
    except Rejection:
        return requests, True
    return requests, False


def parse_by_h11(data: bytes) -> Parsed:
    """Return the requests that h11 reads. Raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    requests: Parsed = []
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        match event:
            case h11.Request():
                head, body = event, b""
            case h11.Data():
                body += bytes(event.data)
            case h11.EndOfMessage():
                assert head is not None
                requests.append((head.method, head.target, list(head.headers), body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.states[h11.CLIENT] is not h11.DONE:
                    return requests
                connection.start_next_cycle()
            case _:
                return requests


PART = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"Content-Length: 3\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length : 3\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"3;x\r\n",
        b" folded\r\n",
        b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
        b"X: \x80\r\n",
        b"Content-Length: 3, 3\r\n",
        b"0\r\nT: v\r\n\r\n",
        b"\0",
        b"Expect: 100-continue\r\n",
    ]
)
COMMON = b"POST /a HTTP/1.1\r\nHost: x\r\n"


@settings(max_examples=400, deadline=None)
@given(st.lists(PART, max_size=12), st.booleans())
def test_what_is_accepted_h11_reads_in_the_same_way(parts: list[bytes], has_head: bool) -> None:  # noqa: FBT001
    data = (COMMON if has_head else b"") + b"".join(parts)
    ours, _ = parse([data])
    if ours:
        theirs = parse_by_h11_as_far_as_possible(data)
        assert ours[: len(theirs)] == theirs[: len(ours)]
        assert len(theirs) >= len(ours)


def parse_by_h11_as_far_as_possible(data: bytes) -> Parsed:
    """Return the requests that h11 reads before it finds a fault: it raises only once it comes to it."""
    for end in range(len(data), 0, -1):
        try:
            return parse_by_h11(data[:end])
        except h11.RemoteProtocolError:
            continue
    return []


@settings(max_examples=200, deadline=None)
@given(st.lists(PART, max_size=12), st.data())
def test_the_pieces_in_which_bytes_arrive_do_not_matter(parts: list[bytes], draw: st.DataObject) -> None:
    data = COMMON + b"".join(parts)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    whole, is_rejected = parse([data])
    split, is_split_rejected = parse(pieces)
    assert whole == split
    assert is_split_rejected or not is_rejected


@pytest.mark.parametrize("size", [1, 7, 64 * 1024])
def test_a_head_that_arrives_in_small_pieces_is_found_in_linear_time(size: int) -> None:
    data = COMMON + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 600) for number in range(90)) + b"\r\n"
    requests, is_rejected = parse([data[start : start + size] for start in range(0, len(data), size)])
    assert (len(requests), is_rejected) == (1, False)
