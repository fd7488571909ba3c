"""Execute `http` steps: render a request, send it through the egress guard, and read its response within limits.

Uses the transport without a client, because the client would log URLs, which may contain secrets.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import httpx2

from domain.expressions.common import ExpressionFault
from domain.expressions.liquid_secrets import SecretsNotWhole
from domain.graphs.configs import HttpConfig
from domain.graphs.graph import ErrorClass
from engine.egress.guard import Guard, GuardedTransport, OutgoingRefused
from engine.providers.turns import Media
from engine.settings import OutgoingSettings
from engine.steps.contract import Failed, StepCall, build_failure
from engine.steps.evaluator import Evaluator
from engine.steps.http.errors import HttpFault, build_status_fault, build_transport_fault, is_fault
from engine.steps.http.request import build_request, check_secrets, render_request, uses_secrets
from engine.steps.http.response import decode_quote, parse_body, read_body, read_headers
from engine.steps.http.secrets import SHOWN_CHARACTERS_MAX, SHOWN_MAX, HttpSecret, Redactor, UsedSecrets

ERROR_BODY_BYTES_MAX: Final = 64 * 1024
INLINE_BODY_BYTES_MAX: Final = 128 * 1024
"""Larger bodies are decoded in a worker: 10 MB of JSON took a third of a second."""
HIDDEN_TEMPLATE_ERROR: Final = (
    "A template that uses a secret cannot be rendered; the reason is hidden because it may contain the secret"
)
HIDDEN: Final = "…"
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "x-api-key", "api-key"})
"""Headers whose values are not recorded, even if they were written into the template."""
_OWN_HEADERS: Final = frozenset({"host", "content-length", "accept-encoding", "traceparent"})
TOO_MANY_SECRET_TEXTS: Final = (
    "The request makes too many different texts from secrets, or too long ones. "
    f"Limits: {SHOWN_MAX} texts, {SHOWN_CHARACTERS_MAX} characters each"
)


async def _record_nothing(_document: dict[str, Any]) -> None:
    """Record nothing."""


class HttpSteps:
    """Executes `http` steps; one instance serves all of them on one event loop."""

    def __init__(
        self, guard: Guard, secrets: Mapping[str, HttpSecret], settings: OutgoingSettings, slow: Evaluator
    ) -> None:
        """Create it without connecting."""
        self._guard = guard
        self._secrets = dict(secrets)
        self._settings = settings
        self._slow = slow
        self._redactor = Redactor(secret.reveal() for secret in self._secrets.values())
        self._transport = GuardedTransport(guard, connections_max=settings.connections)

    async def call(
        self, call: StepCall, config: HttpConfig, record: Callable[[dict[str, Any]], Awaitable[None]] = _record_nothing
    ) -> dict[str, Any] | Failed:
        """Send the request once and return `{status, headers, body}`, or Failed. A binary body is Media.

        `record` gets what is sent, without secrets, before it is sent. Raises what it raises.
        """
        secrets = UsedSecrets(self._secrets)
        redactor = self._redactor
        try:
            seen = call.data.to_expression_data()
            rendered = await self._slow.evaluate(call.workspace_id, partial(render_request, config, seen, secrets))
            secrets = rendered.secrets  # those of a worker process are other objects
            request = build_request(config, call, rendered)
            self._guard.check(request.url)
            check_secrets(request.url, secrets.used, self._secrets, self._guard)
            redactor = self._build_redactor(secrets)
            await record(_describe_request(request, redactor))
            return await self._send_within_timeout(call, request, config, redactor)
        except HttpFault as fault:
            failure = build_failure(fault.error_class, redactor.text(fault.message))
            return Failed(failure.error, retry_after_seconds=fault.wait_seconds)
        except OutgoingRefused as refused:
            return build_failure(ErrorClass.BAD_REQUEST, str(refused))
        except ExpressionFault as fault:
            # The message may quote values, and a redactor cannot recognise a secret that a filter has split.
            may_quote = secrets.used or (uses_secrets(config) and not isinstance(fault, SecretsNotWhole))
            message = HIDDEN_TEMPLATE_ERROR if may_quote else redactor.text(str(fault))
            return build_failure(ErrorClass.EXPRESSION, message)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _send_within_timeout(
        self, call: StepCall, request: httpx2.Request, config: HttpConfig, redactor: Redactor
    ) -> dict[str, Any]:
        seconds = call.node.timeout_seconds or self._settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(call, request, config, redactor)
        except TimeoutError:
            raise HttpFault(ErrorClass.TIMEOUT, f"The request did not complete within {seconds:g} seconds") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise build_transport_fault(error) from None  # without its cause, which may contain a header

    async def _exchange(
        self, call: StepCall, request: httpx2.Request, config: HttpConfig, redactor: Redactor
    ) -> dict[str, Any]:
        wait = self._settings.connect_seconds
        request.extensions["timeout"] = {"connect": wait, "pool": wait, "read": None, "write": None}
        response = await self._transport.handle_async_request(request)
        try:
            if is_fault(response.status_code):
                quote = redactor.text(await _read_error_text(response, config))
                raise build_status_fault(response.status_code, response.headers, quote)
            headers = read_headers(response)
            body = await read_body(response, config.most_response_bytes)
        finally:
            await response.aclose()

        decode = partial(_decode_response, redactor, response.status_code, headers, body)
        try:
            if len(body) <= INLINE_BODY_BYTES_MAX:
                return decode()
            return await self._slow.run_in_worker(call.workspace_id, decode)
        except RecursionError:
            raise HttpFault(ErrorClass.INVALID_OUTPUT, "The response is too deeply nested") from None

    def _build_redactor(self, secrets: UsedSecrets) -> Redactor:
        """Return a redactor of all secrets and of the texts made from them. Raises HttpFault if these are too many."""
        if secrets.showed_too_much:
            raise HttpFault(ErrorClass.BAD_REQUEST, TOO_MANY_SECRET_TEXTS)
        return Redactor(secrets.shown, also=self._redactor) if secrets.shown else self._redactor


def _describe_request(request: httpx2.Request, redactor: Redactor) -> dict[str, Any]:
    """Return the method, URL, headers and body of a request without secrets."""
    document: dict[str, Any] = {
        "method": request.method,
        "url": str(request.url),
        "headers": {
            name: HIDDEN if name in _CREDENTIALS else value
            for name, value in request.headers.items()
            if name not in _OWN_HEADERS
        },
    }
    if request.content:
        document["body"] = request.content.decode(errors="replace")
    return redactor.json(document)


def _decode_response(redactor: Redactor, status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Return the output of a step. Raises RecursionError, HttpFault."""
    value = redactor.json(parse_body(body, headers.get("content-type", "")))
    if isinstance(value, Media) and redactor.text(text := body.decode("latin-1")) != text:
        raise HttpFault(ErrorClass.INVALID_OUTPUT, "The response is binary and contains a secret")
    return {"status": status, "headers": redactor.json(headers), "body": value}


async def _read_error_text(response: httpx2.Response, config: HttpConfig) -> str:
    """Return the text of an error response; empty if it cannot be read."""
    try:
        return decode_quote(await read_body(response, min(config.most_response_bytes, ERROR_BODY_BYTES_MAX)))
    except HttpFault:
        return ""
