"""The WebSocket `/v1/streams`: from its handshake to its end."""

from collections.abc import Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any, Final

from litestar.types import Receive, Send

from gateway.delivery.access_log import AccessLog
from gateway.deps import Deps
from gateway.http.headers import check_host, check_repeated, combine_headers
from gateway.http.problems import create_problem_reply, describe_fault
from gateway.http.replies import Header, Reply
from gateway.http.trace import Trace, join_trace
from gateway.streams.channels.channel import Client
from gateway.streams.connection import Connection, SendTexts
from gateway.streams.handshake import authorise

PATH: Final = "/v1/streams"
SWITCHING: Final = 101
SEND_TEXTS: Final = "callsheet.send_texts"
"""Name of an extension of ASGI: a function that sends several messages, in UTF-8, in one write."""
log_problem: Final = AccessLog(0.0, lambda: 1.0).record


async def serve_socket(deps: Deps, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  # an ASGI scope
    """Serve one WebSocket. What is wrong with its request is answered as a problem document, before it opens."""
    received_at = perf_counter()
    headers = combine_headers(scope["headers"])
    trace = join_trace(headers.get(b"traceparent"), deps.make_id)
    await receive()
    with ExitStack() as stack:
        try:
            check_repeated(scope["headers"], headers)
            check_host(headers)
            caller = await authorise(deps, headers, scope["query_string"])
            stack.enter_context(deps.socket_counts.admit(caller.workspace_id))
        except Exception as fault:  # noqa: BLE001  # every exception becomes a problem document
            details = describe_fault(fault)
            reply = create_problem_reply(fault, details, method="GET", path=PATH, trace=trace)
            deps.request_counts.record("GET", PATH, details.status, received_at)
            log_problem(
                method="GET", raw_path=PATH.encode(), operation_id=None, status=details.status, code=details.code,
                trace=trace, caller=None, received_at=received_at,
            )  # fmt: skip
            await _reject(reply, trace, send)
            return
        deps.request_counts.record("GET", PATH, SWITCHING, received_at)
        await send({"type": "websocket.accept", "subprotocol": None, "headers": [_create_header(trace)]})
        client = Client(deps=deps, caller=caller, trace=trace)
        await Connection(client, receive, send, _find_send_texts(scope, send)).serve()


async def _reject(reply: Reply, trace: Trace, send: Any) -> None:  # noqa: ANN401  # an extension of ASGI
    headers = [*reply.start["headers"], _create_header(trace)]
    await send({"type": "websocket.http.response.start", "status": reply.start["status"], "headers": headers})
    await send({"type": "websocket.http.response.body", "body": reply.content, "more_body": False})


def _create_header(trace: Trace) -> Header:
    return b"traceparent", trace.traceparent.encode()


def _find_send_texts(scope: Any, send: Send) -> SendTexts:  # noqa: ANN401  # an ASGI scope
    """Return the server's function that sends several messages at once, or one that sends each."""
    found: SendTexts | None = scope["extensions"].get(SEND_TEXTS)
    if found is not None:
        return found

    async def send_each(texts: Sequence[bytes]) -> None:
        for text in texts:
            await send({"type": "websocket.send", "text": text.decode(), "bytes": None})

    return send_each
