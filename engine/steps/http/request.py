"""Build the request of an `http` step: render its templates, and refuse what must not be sent."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import httpx2
import msgspec

from domain.expressions.budget import Budget
from domain.expressions.liquid_secrets import SECRETS
from domain.expressions.liquid_templates import render_template
from domain.graphs.configs import HttpConfig
from domain.graphs.graph import ErrorClass
from engine.egress.guard import Guard, get_port
from engine.steps.contract import StepCall
from engine.steps.http.errors import HttpFault
from engine.steps.http.secrets import HttpSecret, UsedSecrets

HEADERS_BYTES_MAX: Final = 32 * 1024
RESERVED_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that steps cannot set, because they control routing and framing."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class RenderedRequest(NamedTuple):
    """The rendered templates of a request, and the secrets that they used."""

    url: str
    headers: dict[str, str]
    body: str | None
    secrets: UsedSecrets


def uses_secrets(config: HttpConfig) -> bool:
    """Return whether a template of a request may name a secret."""
    return any(SECRETS in source for source in (config.url, config.body or "", *config.headers.values()))


def render_request(
    config: HttpConfig, data: Mapping[str, object], secrets: UsedSecrets, budget: Budget
) -> RenderedRequest:
    """Render the templates. Raises ExpressionFault."""
    seen = {**data, SECRETS: secrets}
    return RenderedRequest(
        url=render_template(config.url, seen, budget).strip(),
        body=None if config.body is None else render_template(config.body, seen, budget),
        headers={name: render_template(value, seen, budget).strip() for name, value in config.headers.items()},
        secrets=secrets,
    )


def build_request(config: HttpConfig, call: StepCall, rendered: RenderedRequest) -> httpx2.Request:
    """Return the request to send. Raises HttpFault."""
    try:
        url = httpx2.URL(rendered.url)
    except httpx2.InvalidURL:
        raise HttpFault(ErrorClass.BAD_REQUEST, "The rendered url is not a valid URL") from None
    body, headers = rendered.body, rendered.headers
    _check_headers(headers)
    all_headers = {**_build_default_headers(call, body, headers), **headers}
    try:
        return httpx2.Request(
            config.method,
            url,
            headers=[(name.encode(), value.encode()) for name, value in all_headers.items()],
            content=None if body is None else body.encode(),
        )
    except UnicodeEncodeError:
        raise HttpFault(
            ErrorClass.BAD_REQUEST, "The request contains an unpaired surrogate, which cannot be encoded as UTF-8"
        ) from None


def check_secrets(url: httpx2.URL, used: set[str], secrets: Mapping[str, HttpSecret], guard: Guard) -> None:
    """Raise HttpFault if a used secret may not be sent to the host of the URL, or would be sent unencrypted."""
    place = (url.raw_host.decode("ascii", errors="replace"), get_port(url))
    for name in sorted(used):
        hosts = secrets[name].hosts
        if hosts is not None and place not in hosts:
            raise HttpFault(ErrorClass.BAD_REQUEST, f"The secret '{name}' must not be sent to the host of this url")
    if used and url.scheme != "https" and place not in guard.allowed:
        raise HttpFault(
            ErrorClass.BAD_REQUEST, "Secrets are sent over https only, except to hosts in CALLSHEET_OUTGOING_ALLOWED"
        )


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if name.lower() in RESERVED_HEADERS or name.lower().startswith("proxy-"):
            raise HttpFault(ErrorClass.BAD_REQUEST, f"The header {name} cannot be set by a step")
        if _CONTROL.search(value):
            raise HttpFault(
                ErrorClass.BAD_REQUEST,
                f"The value of the header {name} contains a line break or another control character",
            )
    if sum(len(name) + 4 * len(value) for name, value in headers.items()) > 4 * HEADERS_BYTES_MAX:
        raise HttpFault(ErrorClass.BAD_REQUEST, f"The headers are too large. Limit: {HEADERS_BYTES_MAX} characters")


def _build_default_headers(call: StepCall, body: str | None, set_by_step: Mapping[str, str]) -> dict[str, str]:
    """Return the default headers that the step does not set itself."""
    defaults = {
        "Accept": "*/*",
        "Accept-Encoding": "gzip",
        "User-Agent": "callsheet",
        "Idempotency-Key": call.idempotency_token,
    }
    if call.traceparent is not None and _TRACEPARENT.fullmatch(call.traceparent):
        defaults["traceparent"] = call.traceparent
    if body is not None:
        defaults["Content-Type"] = "application/json" if _is_json(body) else "text/plain; charset=utf-8"
    overridden = {name.lower() for name in set_by_step}
    return {name: value for name, value in defaults.items() if name.lower() not in overridden}


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
