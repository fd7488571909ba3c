"""A model provider behind HTTP, for any protocol: one streamed response per call.

Everything received is limited: the whole call in time, so that a slow server cannot hold a step; the response, an
error's body and a single event in bytes. Redirects are not followed, since they would send the key elsewhere.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import count
from typing import Final, Protocol

import httpx2
import structlog
from msgspec import Struct
from msgspec.structs import replace

from domain.graphs.configs import JsonOutput
from domain.graphs.graph import ErrorClass
from engine.egress.guard import Guard, GuardedTransport, OutgoingRefused
from engine.providers.answers.error_details import parse_error_body
from engine.providers.answers.event_stream import BodyDecoder, Event, Shape, TooLong
from engine.providers.answers.finish_reasons import Finish
from engine.providers.answers.reading import Reading
from engine.providers.answers.thoughts import ThoughtSplitter
from engine.providers.http_faults import INVALID_RESPONSE, classify_status, classify_transport_error
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault
from engine.providers.provider_table import Reasoning
from engine.providers.quotes import Quotes
from engine.providers.traits import CHANGES_MAX, Change, ServerTraits, find_change
from engine.providers.wire import Piece, Wire, shared_headers
from store.lru import LruCache

_REJECTED: Final = frozenset({400, 422})
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
EVENTS_PER_TURN: Final = 16
MODELS_MAX: Final = 1_000
"""Number of models whose rejected parameters are cached."""
LOGGED_MAX: Final = 1_000
"""Number of unknown finish reasons that are logged only once."""
DRAIN_SECONDS_MAX: Final = 0.2
"""How long to wait for the end of a stream after its last event, so that the connection can be reused."""


class Key(Protocol):
    """A secret hidden from `repr`."""

    def reveal(self) -> str:
        """Return the value."""
        ...


class HttpSettings(Struct, frozen=True, kw_only=True):
    """Settings of a provider. `name` is the part before the slash in a node's model."""

    name: str
    base_url: str
    """Its query is sent with each call."""
    api_key: Key | None = None
    key_header: str | None = None
    """The header that carries the key, in place of the protocol's own."""
    headers: Mapping[str, str] = {}
    traits: ServerTraits = ServerTraits()
    finish_reasons: Mapping[str, Finish] = {}
    """The meaning of finish reasons that the table does not have."""
    reasoning: Reasoning = "tags"
    default_model: str | None = None
    """The model that `default` stands for; None: `default` is not available."""
    connections_max: int = 100
    connect_seconds_max: float = 10
    response_bytes_max: int = 32 * 1024 * 1024
    event_bytes_max: int = 24 * 1024 * 1024
    """An image is in one event, as base64."""
    guard: Guard = Guard()
    """Which addresses may be called."""


class HttpProvider:
    """One provider with its connection pool; one instance serves all steps on one event loop."""

    def __init__(self, settings: HttpSettings, wire: Wire, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Create it without connecting. Raises ValueError for an invalid base URL or API key."""
        self._settings = settings
        self._wire = wire
        self._monotonic = monotonic
        self._key = None if settings.api_key is None else _validate_key(settings.api_key)
        self._url = _parse_url(settings.base_url, wire.path)
        secrets = [self._key or "", *settings.headers.values(), *(value for _, value in self._url.params.multi_items())]
        self._quotes = Quotes(secrets)
        self._traits = LruCache[str, ServerTraits](MODELS_MAX)
        self._logged = LruCache[tuple[str, str | None], str](LOGGED_MAX)
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # store no cookies, which tenants would share
            trust_env=False,  # ignore proxies and .netrc, which our settings would not show
            transport=GuardedTransport(settings.guard, connections_max=settings.connections_max),
            # No read timeout, since models may be silent for minutes: the timeout of the whole call applies.
            timeout=httpx2.Timeout(settings.connect_seconds_max, read=None, write=None),
        )

    async def complete(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        """Call the model, again without a default parameter that its server rejects. See Provider."""
        until = self._monotonic() + request.timeout_seconds
        attempt = request
        for number in range(CHANGES_MAX + 1):
            traits = self._traits.get(request.model) or self._settings.traits
            try:
                return await self._call(attempt, traits, on_delta)
            except ProviderFault as fault:
                change = None if fault.rejected is None else find_change(traits, fault.rejected, request)
                left = until - self._monotonic()
                if change is None or number == CHANGES_MAX or left <= 0:
                    raise
            self._remember(request.model, change)
            # Another body under the same token would be refused by servers that compare them.
            token = f"{request.idempotency_token}.{number + 1}"
            attempt = replace(request, timeout_seconds=left, idempotency_token=token)
        raise AssertionError  # the last round returns or raises

    def _remember(self, model: str, change: Change) -> None:
        """Leave a parameter out of all further calls of a model, and log it."""
        self._traits.put(model, change.traits)
        structlog.get_logger("models").warning(
            "model.parameter_left_out", provider=self._settings.name, model=model, parameter=change.parameter
        )

    async def _call(
        self, request: ModelRequest, traits: ServerTraits, on_delta: Callable[[str], None]
    ) -> ModelResponse:
        """Call the model once. Raises ProviderFault."""
        reading = self._create_reading(request, on_delta)
        body, headers = self._wire.body(request, traits), self._build_headers(request, traits)
        try:
            async with (
                asyncio.timeout(request.timeout_seconds),
                self._client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                await self._read(response, reading)
        except TimeoutError:
            if not reading.is_whole:
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
            if not (reading.is_whole or reading.has_failed):
                raise _add_usage(classify_transport_error(error), reading) from None
        except ProviderFault as fault:
            raise _add_usage(fault, reading) from None
        reading.finish()
        return self._to_response(reading, request)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _build_headers(self, request: ModelRequest, traits: ServerTraits) -> dict[str, str]:
        """Return the headers; those of the settings replace others of the same name."""
        key, key_header = self._key, self._settings.key_header
        auth = {} if key is None else self._wire.auth_headers(key) if key_header is None else {key_header: key}
        headers = {**shared_headers(request, traits), **self._wire.headers(), **auth}
        replaced = {name.lower() for name in self._settings.headers}
        return {name: value for name, value in headers.items() if name.lower() not in replaced} | {
            **self._settings.headers
        }

    def _create_reading(self, request: ModelRequest, on_delta: Callable[[str], None]) -> Reading:
        model = f"{self._settings.name}/{request.model}"
        reasoning = self._settings.reasoning
        splitter = None if reasoning == "off" else ThoughtSplitter(is_opened=reasoning == "opened")
        expects_json = isinstance(request.output, JsonOutput)
        return Reading(model, self._quotes, self._monotonic, on_delta, splitter, expects_json=expects_json)

    def _to_response(self, reading: Reading, request: ModelRequest) -> ModelResponse:
        """Return the response; an ending whose meaning is not known is logged once. Raises ProviderFault."""
        response = reading.to_response()
        if response.finish is Finish.UNKNOWN:
            shown = (request.model, response.usage.finish_reason)
            if self._logged.get(shown) is None:
                self._logged.put(shown, request.model)
                structlog.get_logger("models").warning(
                    "model.finish_reason_unknown",
                    provider=self._settings.name,
                    model=request.model,
                    finish_reason=response.usage.finish_reason,
                )
        return response

    async def _read(self, response: httpx2.Response, reading: Reading) -> None:
        reading.read_headers(response.headers)
        if not response.is_success:
            error = parse_error_body(await _read_error_body(response))
            if reading.add_rejected_answer(error):
                return
            fault = classify_status(response.status_code, response.headers, error, self._quotes)
            fault.rejected = error if response.status_code in _REJECTED else None
            raise fault
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ProviderFault(ErrorClass.UNAVAILABLE, INVALID_RESPONSE)
        settings = self._settings
        decoder = BodyDecoder(event_bytes_max=settings.event_bytes_max, document_bytes_max=settings.response_bytes_max)
        try:
            await self._read_body(response, decoder, reading)
        except TooLong:
            raise ProviderFault(
                ErrorClass.INVALID_OUTPUT,
                "The model provider's response, or a single event of it, is too large. "
                f"Limits: {settings.response_bytes_max} and {settings.event_bytes_max} bytes",
            ) from None

    async def _read_body(self, response: httpx2.Response, decoder: BodyDecoder, reading: Reading) -> None:
        """Read a body to its end, or to the event after which no text follows. Raises ProviderFault, TooLong."""
        numbers = count(1)
        body = aiter(response.aiter_raw())
        async for raw in body:
            for event in decoder.feed(raw):
                if next(numbers) % EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)  # buffered events do not yield: a fast server blocked all other tasks
                if self._add_event(event, reading):
                    await self._drain(body, decoder, reading)
                    return
            if response.num_bytes_downloaded > self._settings.response_bytes_max:
                raise TooLong if reading.has_text else ProviderFault(ErrorClass.UNAVAILABLE, INVALID_RESPONSE)
        self._finish_body(decoder, reading)

    def _add_event(self, event: Event, reading: Reading) -> bool:
        """Add an event; return whether no text follows. Raises ProviderFault if it does not follow the protocol."""
        piece = self._wire.piece(event.data)
        if event.name == "error" and (piece is None or piece.error is None):
            piece = Piece(error=parse_error_body(event.data.encode(errors="replace")))
        if piece is None:
            raise ProviderFault(ErrorClass.UNAVAILABLE, INVALID_RESPONSE)
        reading.add(piece)
        return piece.is_last or reading.has_failed

    def _finish_body(self, decoder: BodyDecoder, reading: Reading) -> None:
        """Add what the end of the body completes. Raises ProviderFault, TooLong."""
        for event in decoder.finish():
            piece = self._wire.piece(event.data)
            if piece is not None:  # else the connection broke within an event
                reading.add(piece)
        match decoder.shape:
            case Shape.DOCUMENT:
                self._add_document(decoder.document, reading)
            case Shape.OTHER:
                words = self._quotes.quote(parse_error_body(decoder.document.encode()).message or "")
                raise ProviderFault(ErrorClass.UNAVAILABLE, f"{INVALID_RESPONSE}{': ' if words else ''}{words}")
            case _:
                pass

    def _add_document(self, text: str, reading: Reading) -> None:
        """Add a response that is not streamed: one document, or one per line. Raises ProviderFault."""
        whole = self._wire.piece(text)
        pieces = (
            [whole] if whole is not None else [self._wire.piece(line) for line in text.splitlines() if line.strip()]
        )
        for piece in pieces:
            if piece is None:
                raise ProviderFault(ErrorClass.UNAVAILABLE, INVALID_RESPONSE)
            reading.add(piece)

    async def _drain(self, body: AsyncIterator[bytes], decoder: BodyDecoder, reading: Reading) -> None:
        """Read to the end of the stream, if it comes soon: for late token counts, and to reuse the connection."""
        with suppress(TimeoutError, httpx2.HTTPError, TooLong):
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                async for raw in body:
                    for event in decoder.feed(raw):
                        if (piece := self._wire.piece(event.data)) is not None:
                            reading.add(piece)


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
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        raise ValueError("the base URL of a provider is not a valid URL") from None
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise ValueError(
            "the base URL of a provider must start with http:// or https:// and a host, and contain no password"
        )
    base = url.path.rstrip("/")
    if base.endswith(path):  # the whole address of the operation was given
        return url.copy_with(path=base, fragment=None)
    if base.endswith("/v1"):
        path = path.removeprefix("/v1")
    return url.copy_with(path=base + path, fragment=None)


async def _read_error_body(response: httpx2.Response) -> bytes:
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > ERROR_BODY_BYTES_MAX:
            return b""
    return body
