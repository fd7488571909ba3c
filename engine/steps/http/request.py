"""The request of an `http` step: its templates rendered, and what may not be sent refused before it is connected."""

import re
from collections.abc import Mapping
from typing import Final

import httpx2
import msgspec

from domain.expressions.budget import Budget
from domain.expressions.liquid_templates import compile_template
from domain.graphs.configs import HttpConfig
from domain.graphs.graph import ErrorClass
from engine.egress.guard import Guard, get_port
from engine.steps.contract import StepCall
from engine.steps.http.errors import HttpFault
from engine.steps.http.secrets import HttpSecret, UsedSecrets

HEADERS_BYTES_MAX: Final = 32 * 1024
OURS: Final = frozenset(
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
"""Headers that say how the request travels, or to whom: what they say must be what happens."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def build_request(config: HttpConfig, call: StepCall, secrets: UsedSecrets, budget: Budget) -> httpx2.Request:
    """Render the templates. Raises ExpressionFault, HttpFault."""
    seen = {**call.data.to_expression_data(), "secrets": secrets}
    try:
        url = httpx2.URL(compile_template(config.url).render(seen, budget).strip())
    except httpx2.InvalidURL:
        raise HttpFault(ErrorClass.BAD_REQUEST, "the url is not one") from None
    body = None if config.body is None else compile_template(config.body).render(seen, budget)
    headers = {name: compile_template(value).render(seen, budget).strip() for name, value in config.headers.items()}
    _check(headers)
    try:
        return httpx2.Request(
            config.method,
            url,
            headers=[
                (name.encode(), value.encode()) for name, value in {**_defaults(call, body, headers), **headers}.items()
            ],
            content=None if body is None else body.encode(),
        )
    except UnicodeEncodeError:
        raise HttpFault(ErrorClass.BAD_REQUEST, "the request holds half of a surrogate pair") from None


def check_secrets(url: httpx2.URL, used: set[str], secrets: Mapping[str, HttpSecret], guard: Guard) -> None:
    """Refuse to send a secret to a host that it is not for, or where others could read it. Raises HttpFault."""
    place = (url.raw_host.decode("ascii", errors="replace"), get_port(url))
    for name in sorted(used):
        hosts = secrets[name].hosts
        if hosts is not None and place not in hosts:
            raise HttpFault(ErrorClass.BAD_REQUEST, f"the secret '{name}' may not be sent to the host of this url")
    if used and url.scheme != "https" and place not in guard.allowed:
        raise HttpFault(ErrorClass.BAD_REQUEST, "secrets are sent by https only, except to hosts that are allowed")


def _check(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if name.lower() in OURS or name.lower().startswith("proxy-"):
            raise HttpFault(ErrorClass.BAD_REQUEST, f"the header {name} is not for a step to set")
        if _CONTROL.search(value):
            raise HttpFault(ErrorClass.BAD_REQUEST, f"the header {name} holds a line break or a control character")
    if sum(len(name) + 4 * len(value) for name, value in headers.items()) > 4 * HEADERS_BYTES_MAX:
        raise HttpFault(ErrorClass.BAD_REQUEST, f"the headers have more than {HEADERS_BYTES_MAX} characters")


def _defaults(call: StepCall, body: str | None, given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of ours that the step does not set itself."""
    ours = {
        "Accept": "*/*",
        "Accept-Encoding": "gzip",
        "User-Agent": "callsheet",
        "Idempotency-Key": call.idempotency_token,
    }
    if call.traceparent is not None and _TRACEPARENT.fullmatch(call.traceparent):
        ours["traceparent"] = call.traceparent
    if body is not None:
        ours["Content-Type"] = "application/json" if _is_json(body) else "text/plain; charset=utf-8"
    set_by_step = {name.lower() for name in given}
    return {name: value for name, value in ours.items() if name.lower() not in set_by_step}


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
