"""The provider behind HTTP, in whichever protocol: one streamed answer a call.

Everything that comes in is bounded: the whole call in time, so that a dripping server cannot hold a step; the answer,
an error's body and a single event in bytes. Redirects are not followed: they would carry the key elsewhere.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import count
from typing import Final, Protocol

import httpx2
from msgspec import Struct

from domain.graphs.graph import ErrorClass
from engine.egress.guard import Guard, GuardedTransport, OutgoingRefused
from engine.providers.http_faults import NOT_THE_PROTOCOL, classify_status, classify_transport_error
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.reading import Reading
from engine.providers.wire import Wire

ERROR_BODY_BYTES_MAX: Final = 64 * 1024
EVENTS_WITHOUT_A_BREAK: Final = 16
DRAIN_SECONDS_MAX: Final = 0.2
"""How long the end of a stream is waited for after its last event, so that the connection can be used again."""


class Key(Protocol):
    """A secret that no `repr` shows."""

    def reveal(self) -> str:
        """Return the text itself."""
        ...


class HttpSettings(Struct, frozen=True, kw_only=True):
    """Where a provider is and how it is asked. `name` stands before the slash of a node's model."""

    api_key: Key
    name: str
    base_url: str
    default_model: str | None = None
    """What the model `default` stands for; None: there is no such model."""
    connections_max: int = 100
    connect_seconds_max: float = 10
    response_bytes_max: int = 32 * 1024 * 1024
    event_bytes_max: int = 1024 * 1024
    guard: Guard = Guard()
    """Which addresses may be called."""


class HttpProvider:
    """One provider with its pool of connections; used by all steps at once, on one event loop."""

    def __init__(self, settings: HttpSettings, wire: Wire, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Create it without connecting. Raises ValueError for an address or a key that cannot be used."""
        self._settings = settings
        self._wire = wire
        self._monotonic = monotonic
        self._key = _usable_key(settings.api_key)
        self._url = _parse_url(settings.base_url, wire.path)
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # one tenant's call tells the next nothing
            trust_env=False,  # proxies and .netrc would be settings that our settings do not show
            transport=GuardedTransport(settings.guard, connections_max=settings.connections_max),
            # A model may think in silence for minutes: only the whole call's time bounds the reading.
            timeout=httpx2.Timeout(settings.connect_seconds_max, read=None, write=None),
        )

    async def complete(self, ask: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Ask the model, as Provider says."""
        reading = Reading(f"{self._settings.name}/{ask.model}", self._key, self._monotonic)
        body, headers = self._wire.body(ask), self._wire.headers(ask, self._key)
        try:
            async with (
                asyncio.timeout(ask.timeout_seconds),
                self._client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                await self._read(response, reading, on_delta)
        except TimeoutError:
            if reading.is_whole:
                return reading.answer()
            message = f"the model provider gave no whole answer within {ask.timeout_seconds:g} seconds"
            raise ProviderFault(ErrorClass.TIMEOUT, message, usage=reading.counted()) from None
        except asyncio.CancelledError:
            if (usage := reading.counted()) is not None:
                ask.aborted(usage)
            raise
        except OutgoingRefused as refused:
            raise ProviderFault(ErrorClass.BAD_REQUEST, f"the model provider's base URL: {refused}") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            # What came is paid for, and whole is whole. The fault goes without its cause: a header may stand in it.
            if not reading.is_whole:
                raise _add_usage(classify_transport_error(error), reading) from None
        except ProviderFault as fault:
            raise _add_usage(fault, reading) from None
        return reading.answer()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _read(self, response: httpx2.Response, reading: Reading, on_delta: Callable[[str], None]) -> None:
        if not response.is_success:
            raise classify_status(response.status_code, response.headers, await _error_body(response), self._key)
        if not _is_plain_event_stream(response):
            raise ProviderFault(ErrorClass.UNAVAILABLE, NOT_THE_PROTOCOL)
        response.encoding = "utf-8-sig"  # a mark at the very beginning is none of the text (WHATWG HTML, 9.2.6)
        taken = count(1)
        events = aiter(httpx2.EventSource(response, self._settings.event_bytes_max))
        async for event in events:
            if next(taken) % EVENTS_WITHOUT_A_BREAK == 0:
                await asyncio.sleep(
                    0
                )  # those that came together are read without one: a fast server held up all others
            if response.num_bytes_downloaded > self._settings.response_bytes_max:
                raise ProviderFault(ErrorClass.INVALID_OUTPUT, "the model provider's answer is beyond all bounds")
            if not event.data:
                continue  # `retry: 3000` alone, for example: an event without data is none (WHATWG HTML, 9.2.6)
            piece = self._wire.piece(event.data)
            if piece is None:
                raise ProviderFault(ErrorClass.UNAVAILABLE, NOT_THE_PROTOCOL)
            reading.take(piece, on_delta)
            if piece.is_last:
                await _drain(events)
                return


def _add_usage(fault: ProviderFault, reading: Reading) -> ProviderFault:
    """Return a fault with what was counted before it came."""
    fault.usage = fault.usage or reading.counted()
    return fault


def _usable_key(key: Key) -> str:
    text = key.reveal()
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("a provider's key is printable ASCII without spaces")
    return text


def _parse_url(base_url: str, path: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url.rstrip("/") + path)
    except httpx2.InvalidURL:
        raise ValueError("a provider's base URL is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise ValueError("a provider's base URL starts with http:// or https:// and a host, and holds no password")
    return url


def _is_plain_event_stream(response: httpx2.Response) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "text/event-stream" and response.headers.get("content-encoding", "identity") == "identity"


async def _error_body(response: httpx2.Response) -> bytes:
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > ERROR_BODY_BYTES_MAX:
            return b""
    return body


async def _drain(events: AsyncIterator[object]) -> None:
    """Read to the stream's end, if it is near: only then does its connection go back to the pool."""
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            async for _ in events:
                pass
