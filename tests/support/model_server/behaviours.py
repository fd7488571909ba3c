"""Behaviours of the model server by name: chosen by the model of a request, or beforehand at `/control`.

`echo` and every unknown name answer properly. `status-NNN` fails so, with the query of the name as headers and JSON
error: `status-429?retry-after=7&code=rate_limit_exceeded`; `rejects?A,B` refuses requests with these parameters, and
`odd-usage?[]` tells `[]` in the place of its counts. Answers in the shapes of real servers are in `odd_answers`. A name
with `x2` after a `|` misbehaves for the first two calls with one idempotency token only: `status-503|x2`.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tests.support.model_server import openai_chat
from tests.support.model_server.odd_answers import ODD_ANSWERS
from tests.support.model_server.request_log import Reply
from tests.support.model_server.speech import HALF, ProtocolDialect, stream

DRIP_SECONDS = 0.02
SLOW_SECONDS = 0.1


async def behave(name: str, body: dict[str, Any], reply: Reply, speech: ProtocolDialect) -> None:
    """Answer one call as its behaviour says, in the protocol that it came in."""
    word, _, rest = name.partition("?")
    if word.startswith("status-"):
        await _fail(int(word.removeprefix("status-")), dict(parse_qsl(rest)), reply)
    elif word == "rejects":
        await _reject(rest, body, reply, speech)
    elif word in ODD_ANSWERS:
        await ODD_ANSWERS[word](speech, rest, reply)
    else:
        await _BEHAVIOURS.get(word, _echo)(speech, body, reply)


async def _fail(status: int, told: dict[str, str], reply: Reply) -> None:
    error = {
        "message": told.pop("message", "as told"),
        "type": told.pop("type", "told"),
        "code": told.pop("code", None),
    }
    await reply.json(status, {"type": "error", "error": error}, told)


async def _echo(speech: ProtocolDialect, body: dict[str, Any], reply: Reply) -> None:
    if body.get("stream") is True:
        await stream(speech, reply, speech.answer_to(body))
    else:
        await reply.json(200, speech.document("".join(speech.answer_to(body)), "stop"))


async def _reject(rejected: str, body: dict[str, Any], reply: Reply, speech: ProtocolDialect) -> None:
    """Reject each of the parameters `A,B` that a body has, one at a time, in an envelope by turns; else answer."""
    found = [
        name for name in rejected.split(",") if name in body or body.get("response_format", {}).get("type") == name
    ]
    if not found:
        await _echo(speech, body, reply)
        return
    name = found[0]
    if len(rejected.split(",")) % 2:
        error = {"message": f"Unsupported parameter: '{name}' is not supported with this model.", "param": name}
        await reply.json(400, {"error": error})
    else:
        await reply.json(422, {"detail": [{"loc": ["body", name], "msg": "Extra inputs are not permitted"}]})


async def _half(speech: ProtocolDialect, reply: Reply) -> None:
    await reply.open_stream()
    for event in speech.beginning():
        await reply.event(event)
    for word in HALF:
        await reply.event(speech.word(word))


async def _cut_stream(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await _half(speech, reply)
    reply.break_connection()


async def _end_early(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await _half(speech, reply)
    await reply.end_stream()


async def _cut_after_finish(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await _half(speech, reply)
    await reply.event(speech.finish("stop"))
    reply.break_connection()


async def _silent(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.wait_for_hang_up()


async def _stall(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await _half(speech, reply)
    await reply.wait_for_hang_up()


async def _drip(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.open_stream()
    while not await reply.wait_for_hang_up(DRIP_SECONDS):
        await reply.piece(b":")


async def _slow(speech: ProtocolDialect, body: dict[str, Any], reply: Reply) -> None:
    if not await reply.wait_for_hang_up(SLOW_SECONDS):
        await _echo(speech, body, reply)


async def _broken_json(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await _half(speech, reply)
    await reply.piece(b'data: {"choices": [{"delta"\n\n')
    await reply.end_stream()


async def _odd_bytes(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    """Bytes that are not UTF-8, an escaped NUL, fields unknown to us, and lines that end in CR LF."""
    await reply.open_stream({"X-Odd": "1"})
    await reply.piece(b': comment\r\ndata: {"new": [1], "choices": [{"delta": {"content": "a\\u0000b\xff"}}]}\r\n\r\n')
    await reply.piece(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
    await reply.end_stream()


async def _send_byte_order_mark(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    """A byte order mark before the stream, an event that only says when to come back, and one without data."""
    await reply.open_stream()
    await reply.piece(b"\xef\xbb\xbfdata: " + msgspec.json.encode(speech.word("First ")) + b"\n\n")
    await reply.piece(b"retry: 3000\n\nevent: ping\n\nid: 7\n\n")
    for event in [speech.word("\ufeffsecond"), *speech.ending("stop", 2)]:
        await reply.event(event)
    await reply.end_stream()


async def _done_alone(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.open_stream()
    await reply.piece(speech.last())
    await reply.end_stream()


async def _nothing(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await stream(speech, reply, [], "stop")


async def _exhaust_tokens(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await stream(speech, reply, [], "length")


async def _tool(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await stream(speech, reply, [], "tool")


async def _half_pairs(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    """Escapes of surrogates: one alone, two that are a pair, two in the wrong order, and an escaped backslash."""
    await reply.open_stream()
    for event in [*speech.beginning(), speech.word("@"), *speech.ending("stop", 1)]:
        escaped = rb"a\ud800b\uD83d\ude00c\ude00\ud83dd\\ud800"
        await reply.piece(b"data: " + msgspec.json.encode(event).replace(b"@", escaped) + b"\n\n")
    await reply.end_stream()


async def _odd_usage(speech: ProtocolDialect, body: dict[str, Any], reply: Reply) -> None:
    told = msgspec.json.decode(body["model"].partition("?")[2])
    await reply.open_stream()
    for event in [*speech.beginning(), speech.word("Paid"), *speech.ending("stop", 1)]:
        await reply.event({**event, "usage": told} if "usage" in event else event)
    await reply.end_stream()


async def _giant_line(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.open_stream()
    while not await reply.wait_for_hang_up(0):
        await reply.piece(b"x" * 65_536)


async def _giant_answer(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.open_stream()
    while not await reply.wait_for_hang_up(0):
        await reply.event(speech.word("word " * 10_000))


async def _giant_error(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.whole(400, "application/json", b'{"error": {"message": "' + b"x" * 1_000_000 + b'"}}')


async def _page(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.whole(200, "text/html", b"<html>Please sign in</html>")


async def _compress_stream(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.open_stream({"Content-Encoding": "gzip"})
    await reply.end_stream()


async def _not_http(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.send(b"220 mail.example.com ESMTP\r\n")
    reply.break_connection()


async def _redirect(_speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.json(307, {}, {"Location": "/v1/chat/completions"})


async def _filter_content(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await stream(speech, reply, HALF, "refused")


async def _refuses(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await reply.open_stream()
    await reply.event(openai_chat.chunk(refusal="I will not."))
    await reply.event(speech.finish("stop"))
    await reply.end_stream()


async def _truncate_answer(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await stream(speech, reply, HALF, "length")


async def _error_in_stream(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await _half(speech, reply)
    await reply.event(speech.error("overloaded_error", "busy"))
    await reply.end_stream()


async def _no_usage(speech: ProtocolDialect, _body: dict[str, Any], reply: Reply) -> None:
    await _half(speech, reply)
    await reply.event(speech.finish("stop"))
    await reply.end_stream()


_BEHAVIOURS: dict[str, Callable[[ProtocolDialect, dict[str, Any], Reply], Awaitable[None]]] = {
    "broken-json": _broken_json,
    "compressed": _compress_stream,
    "cut": _cut_stream,
    "cut-after-finish": _cut_after_finish,
    "done-alone": _done_alone,
    "drip": _drip,
    "slow": _slow,
    "end-early": _end_early,
    "error-in-stream": _error_in_stream,
    "filtered": _filter_content,
    "giant-answer": _giant_answer,
    "giant-error": _giant_error,
    "giant-line": _giant_line,
    "half-pairs": _half_pairs,
    "marked": _send_byte_order_mark,
    "no-usage": _no_usage,
    "not-http": _not_http,
    "nothing": _nothing,
    "odd-bytes": _odd_bytes,
    "odd-usage": _odd_usage,
    "page": _page,
    "redirect": _redirect,
    "refuses": _refuses,
    "silent": _silent,
    "spent": _exhaust_tokens,
    "stall": _stall,
    "tool": _tool,
    "truncated": _truncate_answer,
}
