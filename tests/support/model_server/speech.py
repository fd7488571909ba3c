"""The speech of the model server: what each protocol says at which point of an answer, so that all misbehave alike."""

from typing import Any, Protocol

from tests.support.model_server.request_log import Reply

HALF = ["Half", " of"]
Json = dict[str, object]


class ProtocolDialect(Protocol):
    """One protocol. A finish is `stop`, `length`, `refused` or `tool`; 7 tokens are asked, and a word is one."""

    name: str
    path: str

    def answer_to(self, body: dict[str, Any]) -> list[str]:
        """The words of a proper answer."""
        ...

    def beginning(self) -> list[Json]:
        """Yield the events before the first word."""
        ...

    def word(self, text: str) -> Json: ...

    def finish(self, finish: str) -> Json:
        """The end of the answer, without its tokens."""
        ...

    def ending(self, finish: str, words: int) -> list[Json]:
        """The end of the answer and its tokens."""
        ...

    def last(self) -> bytes:
        """The event after which nothing follows."""
        ...

    def format_thought(self, text: str, field: str) -> Json:
        """A piece of the reasoning before the answer; `field` may name another field for it than the usual one."""
        ...

    def null(self) -> Json:
        """A piece whose text is null."""
        ...

    def parts(self, first: str, second: str) -> list[Json]:
        """Two texts, where this protocol has text besides the usual place."""
        ...

    def document(self, text: str, finish: str) -> Json:
        """A whole answer that is not streamed; its two tokens included."""
        ...

    def error(self, kind: str, message: str) -> Json: ...


async def stream(speech: ProtocolDialect, reply: Reply, words: list[str], finish: str = "stop") -> None:
    """Stream a whole answer."""
    await reply.open_stream()
    for event in [*speech.beginning(), *map(speech.word, words), *speech.ending(finish, len(words))]:
        await reply.event(event)
    await reply.piece(speech.last())
    await reply.end_stream()
