"""The website that an example of the demo calls: it acknowledges each request and stores nothing."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

HOST: Final = "127.0.0.1"
ANSWER: Final = b'{"received": true}'
REQUEST_SECONDS_MAX: Final = 10
CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)
ALLOWED: Final = "CALLSHEET_OUTGOING_ALLOWED"


@asynccontextmanager
async def start_website() -> AsyncGenerator[str]:
    """Serve on a free port for as long as the block lasts; yields its `host:port`."""
    server = await asyncio.start_server(_answer, HOST, 0)
    async with server:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"


def allow_outgoing(environ: Mapping[str, str], place: str) -> dict[str, str]:
    """Return an environment that allows the server to call the website, whose address is not public."""
    return {**environ, ALLOWED: ",".join(filter(None, (environ.get(ALLOWED), place)))}


def replace_webhook_url(inputs: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the inputs with the address of the website in `webhook_url`."""
    return {**inputs, **({"webhook_url": f"http://{place}/hooks"} if "webhook_url" in inputs else {})}


def _read_content_length(head: bytes) -> int:
    """Return the length of the body that follows the head of a request."""
    found = CONTENT_LENGTH.search(head)
    return int(found[1]) if found is not None else 0


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        async with asyncio.timeout(REQUEST_SECONDS_MAX):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_read_content_length(head))  # closed with a body unread, it would be a reset
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
            )
            await writer.drain()
    writer.close()
