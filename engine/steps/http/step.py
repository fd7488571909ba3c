"""HTTP steps: render a request, send it through the guard, and read its response within bounds.

The transport is used without the client around it: that one would log URLs, and they may hold secrets.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import httpx2

from domain.expressions.common import ExpressionFault
from domain.graphs.configs import HttpConfig
from domain.graphs.graph import ErrorClass
from engine.egress.guard import Guard, GuardedTransport, OutgoingRefused
from engine.settings import OutgoingSettings
from engine.steps.contract import Failed, StepCall, build_failure
from engine.steps.evaluator import Evaluator
from engine.steps.http.errors import HttpFault, classify_status, classify_transport_error, is_fault
from engine.steps.http.request import build_request, check_secrets
from engine.steps.http.response import body_bytes, decode_quote, parse_body, read_headers
from engine.steps.http.secrets import SHOWN_CHARACTERS_MAX, SHOWN_MAX, HttpSecret, Redactor, UsedSecrets

ERROR_BODY_BYTES_MAX: Final = 64 * 1024
BODY_BYTES_AT_ONCE: Final = 128 * 1024
"""A larger one is read beside the loop: 10 MB of JSON took a third of a second."""
UNTOLD: Final = "a template that uses a secret cannot be rendered; why is not told, for that may quote it"
TOO_MUCH_SHOWN: Final = (
    f"a request makes at most {SHOWN_MAX} different texts of secrets, of at most {SHOWN_CHARACTERS_MAX} characters"
)


class HttpSteps:
    """Carries out http steps; used by all of them at once, on one event loop."""

    def __init__(
        self, guard: Guard, secrets: Mapping[str, HttpSecret], settings: OutgoingSettings, slow: Evaluator | None = None
    ) -> None:
        """Create it without connecting."""
        self._guard = guard
        self._secrets = dict(secrets)
        self._settings = settings
        self._slow = slow or Evaluator()
        self._redactor = Redactor(secret.reveal() for secret in self._secrets.values())
        self._transport = GuardedTransport(guard, connections_max=settings.connections)

    async def call(self, call: StepCall, config: HttpConfig) -> dict[str, Any] | Failed:
        """Call once and give `{status, headers, body}`. Raises nothing of its own."""
        secrets = UsedSecrets(self._secrets)
        redactor = self._redactor
        try:
            request = await self._slow.evaluate(
                call.workspace_id, lambda budget: build_request(config, call, secrets, budget)
            )
            self._guard.check(request.url)
            check_secrets(request.url, secrets.used, self._secrets, self._guard)
            redactor = self._redactor_of(secrets)
            return await self._within_time(call, request, config, redactor)
        except HttpFault as fault:
            refused = build_failure(fault.error_class, redactor.text(fault.message))
            return Failed(refused.error, retry_after_seconds=fault.wait_seconds)
        except OutgoingRefused as refused:
            return build_failure(ErrorClass.BAD_REQUEST, str(refused))
        except ExpressionFault as fault:
            # It may quote what it was given, and no redactor knows a secret that a filter has taken apart.
            said = UNTOLD if secrets.used else redactor.text(str(fault))
            return build_failure(ErrorClass.EXPRESSION, said)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _within_time(
        self, call: StepCall, request: httpx2.Request, config: HttpConfig, redactor: Redactor
    ) -> dict[str, Any]:
        seconds = call.node.timeout_seconds or self._settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(call, request, config, redactor)
        except TimeoutError:
            raise HttpFault(ErrorClass.TIMEOUT, f"there was no whole answer within {seconds:g} seconds") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise classify_transport_error(error) from None  # without its cause: a header may stand in it

    async def _exchange(
        self, call: StepCall, request: httpx2.Request, config: HttpConfig, redactor: Redactor
    ) -> dict[str, Any]:
        wait = self._settings.connect_seconds
        request.extensions["timeout"] = {"connect": wait, "pool": wait, "read": None, "write": None}
        response = await self._transport.handle_async_request(request)
        try:
            if is_fault(response.status_code):
                quote = redactor.text(await _read_error_text(response, config))
                raise classify_status(response.status_code, response.headers, quote)
            headers = read_headers(response)
            body = await body_bytes(response, config.most_response_bytes)
        finally:
            await response.aclose()

        def read() -> dict[str, Any]:
            value = redactor.json(parse_body(body, headers.get("content-type", "")))
            return {"status": response.status_code, "headers": redactor.json(headers), "body": value}

        try:
            return (
                read() if len(body) <= BODY_BYTES_AT_ONCE else await self._slow.run_in_thread(call.workspace_id, read)
            )
        except RecursionError:
            raise HttpFault(ErrorClass.INVALID_OUTPUT, "the answer is nested too deep") from None

    def _redactor_of(self, secrets: UsedSecrets) -> Redactor:
        """Cut out the secrets, and what was made with them: `Basic` hides them in base64. Raises HttpFault."""
        if secrets.showed_too_much:
            raise HttpFault(ErrorClass.BAD_REQUEST, TOO_MUCH_SHOWN)
        return Redactor(secrets.shown, also=self._redactor) if secrets.shown else self._redactor


async def _read_error_text(response: httpx2.Response, config: HttpConfig) -> str:
    """Read what an error says; one that cannot be read says nothing."""
    try:
        return decode_quote(await body_bytes(response, min(config.most_response_bytes, ERROR_BODY_BYTES_MAX)))
    except HttpFault:
        return ""
