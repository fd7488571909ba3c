"""OpenAI's chat completions as the model server speaks them: the chunks of an answer, in order."""

from typing import Any

import msgspec

from engine.providers.scripted_values import generate_value
from tests.support.model_server.speech import Json

FINISHES = {"refused": "content_filter", "tool": "tool_calls"}


def chunk(content: str | None = None, finish: str | None = None, **delta: object) -> Json:
    said = {**delta} if content is None else {"content": content, **delta}
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


class OpenAiChat:
    """The speech of chat completions."""

    name = "openai"
    path = "/v1/chat/completions"

    def answer_to(self, body: dict[str, Any]) -> list[str]:
        """The last message said back, or JSON where a schema is given."""
        schema: Any = body.get("response_format", {}).get("json_schema", {}).get("schema")
        if schema is not None:
            return [msgspec.json.encode(generate_value(schema)).decode()]
        system, _, asked = str(body["messages"][0]["content"]).rpartition("\n")
        if "JSON Schema" in system:
            return [msgspec.json.encode(generate_value(msgspec.json.decode(asked))).decode()]
        said = str(body["messages"][-1]["content"])
        return [f"{word} " for word in ["You", "said:", *said.split()]]

    def beginning(self) -> list[Json]:
        return [chunk("", role="assistant")]

    def word(self, text: str) -> Json:
        return chunk(text)

    def finish(self, finish: str) -> Json:
        return chunk(finish=FINISHES.get(finish, finish))

    def ending(self, finish: str, words: int) -> list[Json]:
        counted = {"prompt_tokens": 7, "completion_tokens": words, "total_tokens": 7 + words}
        return [self.finish(finish), {"object": "chat.completion.chunk", "choices": [], "usage": counted}]

    def last(self) -> bytes:
        return b"data: [DONE]\n\n"

    def format_thought(self, text: str, field: str) -> Json:
        return chunk(None, **{field or "reasoning_content": text})

    def null(self) -> Json:
        return {"choices": [{"index": 0, "delta": {"content": None, "role": None}, "text": None}]}

    def parts(self, first: str, second: str) -> list[Json]:
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
        texts = [thought, {"type": "text", "text": first}, {"type": "text", "text": second}]
        return [{"choices": [{"index": 0, "delta": {"content": texts}, "finish_reason": None}]}]

    def document(self, text: str, finish: str) -> Json:
        message = {"role": "assistant", "content": text, "refusal": None, "reasoning": "Hm."}
        return {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": FINISHES.get(finish, finish)}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}},
        }

    def error(self, kind: str, message: str) -> Json:
        return {"error": {"message": message, "type": kind, "code": None}}
