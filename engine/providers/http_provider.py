"""A model provider behind HTTP, for any protocol: one streamed response per call.

Everything received is limited: the whole call in time, so that a slow server cannot hold a step; the response, an
error's body and a single event in bytes. Redirects are not followed, since they would send the key elsewhere.
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
from engine.providers.http_faults import INVALID_RESPONSE, classify_status, classify_transport_error
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.reading import Reading
from engine.providers.wire import Wire

ERROR_BODY_BYTES_MAX: Final = 64 * 1024
EVENTS_PER_TURN: Final = 16
DRAIN_SECONDS_MAX: Final = 0.2
"""How long to wait for the end of a stream after its last event, so that the connection can be reused."""


class Key(Protocol):
    """A secret hidden from `repr`."""

    def reveal(self) -> str:
        """Return the value."""
        ...


class HttpSettings(Struct, frozen=True, kw_only=True):
    """Settings of a provider. `name` is the part before the slash in a node's model."""

    api_key: Key
    name: str
    base_url: str
    default_model: str | None = None
    """The model that `default` stands for; None: `default` is not available."""
    connections_max: int = 100
    connect_seconds_max: float = 10
    response_bytes_max: int = 32 * 1024 * 1024
    event_bytes_max: int = 1024 * 1024
    guard: Guard = Guard()
    """Which addresses may be called."""


class HttpProvider:
    """One provider with its connection pool; one instance serves all steps on one event loop."""

    def __init__(self, settings: HttpSettings, wire: Wire, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Create it without connecting. Raises ValueError for an invalid base URL or API key."""
        self._settings = settings
        self._wire = wire
        self._monotonic = monotonic
        self._key = _validate_key(settings.api_key)
        self._url = _parse_url(settings.base_url, wire.path)
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # store no cookies, which tenants would share
            trust_env=False,  # ignore proxies and .netrc, which our settings would not show
            transport=GuardedTransport(settings.guard, connections_max=settings.connections_max),
            # No read timeout, since models may be silent for minutes: the timeout of the whole call applies.
            timeout=httpx2.Timeout(settings.connect_seconds_max, read=None, write=None),
        )

    async def complete(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Call the model. See Provider."""
        reading = Reading(f"{self._settings.name}/{request.model}", self._key, self._monotonic)
        body, headers = self._wire.body(request), self._wire.headers(request, self._key)
        try:
            async with (
                asyncio.timeout(request.timeout_seconds),
                self._client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                await self._read(response, reading, on_delta)
        except TimeoutError:
            if reading.is_whole:
                return reading.to_response()
            message = f"The model provider did not complete its response within {request.timeout_seconds:g} seconds"
            raise ProviderFault(ErrorClass.TIMEOUT, message, usage=reading.find_usage()) from None
        except asyncio.CancelledError:
            if (usage := reading.find_usage()) is not None:
                request.aborted(usage)
            raise
        except OutgoingRefused as refused:
            raise ProviderFault(ErrorClass.BAD_REQUEST, f"Base URL of the model provider: {refused}") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            # A complete response counts, since it is paid for. Drop the cause, which may contain a header.
            if not reading.is_whole:
                raise _add_usage(classify_transport_error(error), reading) from None
        except ProviderFault as fault:
            raise _add_usage(fault, reading) from None
        return reading.to_response()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _read(self, response: httpx2.Response, reading: Reading, on_delta: Callable[[str], None]) -> None:
        if not response.is_success:
            raise classify_status(response.status_code, response.headers, await _read_error_body(response), self._key)
        if not _is_plain_event_stream(response):
            raise ProviderFault(ErrorClass.UNAVAILABLE, INVALID_RESPONSE)
        response.encoding = "utf-8-sig"  # skip a byte order mark (WHATWG HTML, 9.2.6)
        numbers = count(1)
        events = aiter(httpx2.EventSource(response, self._settings.event_bytes_max))
        async for event in events:
            if next(numbers) % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)  # buffered events do not yield: a fast server blocked all other tasks
            if response.num_bytes_downloaded > self._settings.response_bytes_max:
                raise ProviderFault(
                    ErrorClass.INVALID_OUTPUT,
                    f"The model provider's response is too large. Limit: {self._settings.response_bytes_max} bytes",
                )
            if not event.data:
                continue  # such as `retry: 3000`; ignored (WHATWG HTML, 9.2.6)
            piece = self._wire.piece(event.data)
            if piece is None:
                raise ProviderFault(ErrorClass.UNAVAILABLE, INVALID_RESPONSE)
            reading.add(piece, on_delta)
            if piece.is_last:
                await _drain(events)
                return


def _add_usage(fault: ProviderFault, reading: Reading) -> ProviderFault:
    """Add the usage that was reported before a fault."""
    fault.usage = fault.usage or reading.find_usage()
    return fault


def _validate_key(key: Key) -> str:
    text = key.reveal()
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("the API key of a provider must be printable ASCII without spaces")
    return text


def _parse_url(base_url: str, path: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url.rstrip("/") + path)
    except httpx2.InvalidURL:
        raise ValueError("the base URL of a provider is not a valid URL") from None
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise ValueError(
            "the base URL of a provider must start with http:// or https:// and a host, and contain no password"
        )
    return url


def _is_plain_event_stream(response: httpx2.Response) -> bool:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "text/event-stream" and response.headers.get("content-encoding", "identity") == "identity"


async def _read_error_body(response: httpx2.Response) -> bytes:
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > ERROR_BODY_BYTES_MAX:
            return b""
    return body


async def _drain(events: AsyncIterator[object]) -> None:
    """Read to the end of the stream, if it comes soon, so that the connection returns to the pool."""
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            async for _ in events:
                pass
