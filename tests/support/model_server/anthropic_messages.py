"""Anthropic's messages as the model server speaks them: the events of an answer, in order."""

from typing import Any

import msgspec

from engine.providers.scripted_values import generate_value
from tests.support.model_server.speech import Json

FINISHES = {"stop": "end_turn", "length": "max_tokens", "refused": "refusal", "tool": "tool_use"}


class AnthropicMessages:
    """The speech of messages."""

    name = "anthropic"
    path = "/v1/messages"

    def answer_to(self, body: dict[str, Any]) -> list[str]:
        """The last message said back, or JSON where the system asks for it by a schema."""
        system, _, schema = str(body.get("system", "")).rpartition("\n")
        if "JSON Schema" in system:
            return [msgspec.json.encode(generate_value(msgspec.json.decode(schema))).decode()]
        said = str(body["messages"][-1]["content"])
        return [f"{word} " for word in ["You", "said:", *said.split()]]

    def beginning(self) -> list[Json]:
        usage = {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 0}
        return [
            {"type": "message_start", "message": {"type": "message", "content": [], "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        ]

    def word(self, text: str) -> Json:
        return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}

    def finish(self, finish: str) -> Json:
        return {"type": "message_delta", "delta": {"stop_reason": FINISHES.get(finish, finish), "stop_sequence": None}}

    def ending(self, finish: str, words: int) -> list[Json]:
        stopped: Json = {"type": "content_block_stop", "index": 0}
        return [stopped, {**self.finish(finish), "usage": {"output_tokens": words}}]

    def last(self) -> bytes:
        return b'event: message_stop\ndata: {"type": "message_stop"}\n\n'

    def format_thought(self, text: str, field: str) -> Json:
        delta = {"type": "thinking_delta", field or "thinking": text}
        return {"type": "content_block_delta", "index": 0, "delta": delta}

    def null(self) -> Json:
        return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}}

    def parts(self, first: str, second: str) -> list[Json]:
        block = {"type": "text", "text": first}
        return [{"type": "content_block_start", "index": 1, "content_block": block}, self.word(second)]

    def document(self, text: str, finish: str) -> Json:
        content = [{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "text", "text": text}]
        usage = {"input_tokens": 7, "output_tokens": 2}
        return {"type": "message", "content": content, "stop_reason": FINISHES[finish], "usage": usage}

    def error(self, kind: str, message: str) -> Json:
        return {"type": "error", "error": {"type": kind, "message": message}}
