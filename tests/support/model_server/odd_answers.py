"""Answers in the shapes of real servers, by name; what follows the `?` of a name says more about them.

Texts stream as single characters where a split in the middle could matter.
"""

from collections.abc import Awaitable, Callable

import msgspec

from tests.support.model_server.request_log import Reply
from tests.support.model_server.speech import HALF, Json, ProtocolDialect, stream


async def _finish(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """`finish?WORD` ends with that reason, `finish?WORD|NATIVE` also with one of the model's own server."""
    word, _, native = said.partition("|")
    await reply.open_stream()
    for event in [*speech.beginning(), *map(speech.word, HALF)]:
        await reply.event(event)
    *ending, counted = speech.ending(word, len(HALF))
    for event in ending:
        await reply.event({**event, "choices": [_with_native(event, native)]} if native else event)
    await reply.event(counted)
    await reply.piece(speech.last())
    await reply.end_stream()


def _with_native(event: Json, native: str) -> object:
    choices = msgspec.convert(event["choices"], list[dict[str, object]])
    return {**choices[0], "native_finish_reason": native}


async def _empty_finish(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """An empty reason in every chunk, and then the end of the connection or, with `?done`, of the stream."""
    await reply.open_stream()
    for word in HALF:
        await reply.event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": ""}]})
    if said == "done":
        await reply.piece(speech.last())
    await reply.end_stream()


async def _choice_error(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """An error on the choice, and the tokens only after it."""
    await reply.open_stream()
    for word in HALF:
        await reply.event(speech.word(word))
    error = msgspec.json.decode(said or '{"code": 502.0, "message": "the backend died"}')
    await reply.event({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": error}]})
    await reply.event(speech.ending("stop", 2)[-1])
    await reply.end_stream()


async def _plain(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """The whole answer as one document: `stream` is ignored. `?KIND` is its media type."""
    await reply.whole(200, said or "application/json", msgspec.json.encode(speech.document("Half of", "stop")))


async def _wrong_type(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """A proper stream under another media type."""
    await reply.open_stream({"Content-Type": said or "text/plain"})
    for event in [*speech.beginning(), *map(speech.word, HALF), *speech.ending("stop", 2)]:
        await reply.event(event)
    await reply.piece(speech.last())
    await reply.end_stream()


async def _body(_speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """`body?STATUS TYPE TEXT`: exactly that body."""
    status, kind, text = said.split(" ", 2)
    await reply.whole(int(status), kind, text.encode())


async def _events(_speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """`events?TEXT`: exactly that event stream, one byte a chunk."""
    await reply.open_stream()
    for byte in said.encode():
        await reply.piece(bytes([byte]))
    await reply.end_stream()


async def _split(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """`split?TEXT`: an event a word, and a chunk a byte, so that every character of several bytes is torn apart."""
    await reply.open_stream()
    await reply.piece(b"\xef")
    await reply.piece(b"\xbb\xbf")
    for event in [*speech.beginning(), speech.word(said), *speech.ending("stop", 1)]:
        for byte in b"data: " + msgspec.json.encode(event) + b"\n\n":
            await reply.piece(bytes([byte]))
    await reply.end_stream()


async def _text(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """`text?TEXT`: that text, an event a character."""
    await stream(speech, reply, list(said))


async def _cut_text(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """`cut-text?TEXT`: that text, cut by the limit of output tokens."""
    await stream(speech, reply, list(said), "length")


async def _thinks(speech: ProtocolDialect, said: str, reply: Reply) -> None:
    """Reasoning in its own field, whose name may follow the `?`, before the answer."""
    await reply.open_stream()
    thoughts = [speech.format_thought(thought, said) for thought in ("Let me ", "think.")]
    for event in [*speech.beginning(), *thoughts, *map(speech.word, HALF), *speech.ending("stop", 5)]:
        await reply.event(event)
    await reply.piece(speech.last())
    await reply.end_stream()


async def _parts(speech: ProtocolDialect, _said: str, reply: Reply) -> None:
    """The text in parts, or in the event that starts its block; and a null where a text is expected."""
    await reply.open_stream()
    for event in [*speech.beginning(), speech.null(), *speech.parts("Half", " of"), *speech.ending("stop", 2)]:
        await reply.event(event)
    await reply.piece(speech.last())
    await reply.end_stream()


ODD_ANSWERS: dict[str, Callable[[ProtocolDialect, str, Reply], Awaitable[None]]] = {
    "body": _body,
    "choice-error": _choice_error,
    "cut-text": _cut_text,
    "empty-finish": _empty_finish,
    "events": _events,
    "finish": _finish,
    "parts": _parts,
    "plain": _plain,
    "split": _split,
    "text": _text,
    "thinks": _thinks,
    "wrong-type": _wrong_type,
}
