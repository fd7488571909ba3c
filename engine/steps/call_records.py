"""Record what a step's calls ask and are answered, as the project of the run wants it.

A quick call is recorded by the fact of its result, without a fact of its own; a call that takes longer
is announced while it is in progress (`step.asked`), so that it is recorded even if the engine dies.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from domain.graphs.configs import JsonOutput, list_set_parameters
from domain.payload import NOTHING, Payload
from domain.runs.call_recording import Recording, read_recording
from domain.runs.facts import CallRecord
from engine.providers.provider import ModelRequest, ModelResponse
from engine.providers.turns import TextPiece, Turn
from engine.steps.contract import CallAsked, StepCall
from store.contents import JSON, ContentStore
from store.errors import ContentTooLarge, TooDeep, Unavailable, UnstorableText
from store.log.json_encoding import encode_shallow
from store.retrying import Retrying

INLINE_BYTES: Final = 2_048
"""Larger documents are kept in the content store. In a fact they would be copied to everyone who follows the log."""
NOT_RECORDED: Final = "too large or too deeply nested to be recorded"


class OpenCall:
    """A call in progress."""

    def __init__(self, call: StepCall, number: int, asked: Payload, delay_seconds: float) -> None:
        """Announce the call if it has not ended after the delay."""
        self._call = call
        self._number = number
        self._asked = asked
        self._timer = asyncio.get_running_loop().call_later(delay_seconds, self._announce)

    def stop(self) -> None:
        """Announce nothing any more."""
        self._timer.cancel()

    def end(self, answered: Payload = NOTHING) -> CallRecord:
        """Return the record of the call; without what was asked if that was announced."""
        self._timer.cancel()
        return CallRecord(number=self._number, asked=self._asked, answered=answered)

    def _announce(self) -> None:
        record = CallRecord(number=self._number, asked=self._asked)
        self._call.announce(CallAsked(attempt=self._call.attempt, call=record))
        self._asked = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecorder:
    """Records calls. `digest_key` keys the digests of personal contents."""

    contents: ContentStore
    digest_key: bytes
    delay_seconds: float = 0.5

    async def begin(self, call: StepCall, number: int, document: dict[str, Any]) -> OpenCall | None:
        """Record what a call asks; None if the project records nothing. Raises Unavailable."""
        recording = read_recording(call.run.pins.flags)
        if recording is Recording.OFF:
            return None
        asked = await self._keep(call, document, recording, may_inline=True)
        return OpenCall(call, number, asked, self.delay_seconds)

    async def end(
        self, call: StepCall, opened: OpenCall | None, answer: ModelResponse, *, is_output: bool
    ) -> CallRecord | None:
        """Return the record of an answered call, however often the store is unavailable: the answer is paid for.

        The answer is kept if it is not the step's output, or if it came with reasoning, which never is in an event.
        """
        if opened is None:
            return None
        opened.stop()
        if is_output and not answer.reasoning:
            return opened.end()
        document = {"text": answer.text, "reasoning": answer.reasoning} if answer.reasoning else {"text": answer.text}
        recording = read_recording(call.run.pins.flags)
        may_inline = not answer.reasoning
        kept = await Retrying(Unavailable).call(lambda: self._keep(call, document, recording, may_inline=may_inline))
        return opened.end(kept)

    async def _keep(
        self, call: StepCall, document: dict[str, Any], recording: Recording, *, may_inline: bool
    ) -> Payload:
        try:
            encoded = encode_shallow(document)
        except UnstorableText:
            document = cast("dict[str, Any]", _clean(document))
            encoded = msgspec.json.encode(document)
        except TooDeep:
            return Payload(value=NOT_RECORDED)
        if may_inline and recording is Recording.ON and len(encoded) <= INLINE_BYTES:
            return Payload(value=document)
        key = self.digest_key if recording is Recording.PERSONAL else None
        try:
            reference = await self.contents.put(call.workspace_id, encoded, JSON, key)
        except ContentTooLarge:
            return Payload(value=NOT_RECORDED)
        return Payload(ref=reference, bytes=len(encoded), media_type=JSON)


def describe_request(request: ModelRequest, provider: str) -> dict[str, Any]:
    """Return what a model is asked: the rendered prompt, the parameters, the schema, and the answer to repair."""
    document: dict[str, Any] = {"model": provider}
    if request.turns:
        document["messages"] = [{"role": turn.role, "content": _describe_turn(turn)} for turn in request.turns]
    else:
        document["prompt"] = request.prompt
    if request.system is not None:
        document["system"] = request.system
    if parameters := list_set_parameters(request.parameters):
        document["parameters"] = parameters
    if isinstance(request.output, JsonOutput):
        document["schema"] = request.output.schema
    if request.repair is not None:
        document["repair"] = {"answer": request.repair.answer, "said": request.repair.said}
    return document


def _describe_turn(turn: Turn) -> list[dict[str, Any]]:
    """Return a turn with references in place of the bytes of its images and files."""
    described: list[dict[str, Any]] = []
    for piece in turn.pieces:
        if isinstance(piece, TextPiece):
            described.append({"type": "text", "text": piece.text})
        elif piece.media is not None:
            facts = {"media_type": piece.media.media_type, "bytes": len(piece.media.data)}
            named = {} if piece.asset_id is None else {"asset_id": piece.asset_id}
            described.append({"type": piece.kind, "content": piece.reference, **named, **facts})
        else:
            described.append({"type": piece.kind, "url": piece.url})
    return described


def _clean(value: object) -> object:
    """Return a JSON value without NUL characters and unpaired surrogates, which cannot be stored."""
    match value:
        case str():
            return value.replace("\0", "").encode(errors="replace").decode()
        case list():
            return [_clean(item) for item in cast("list[object]", value)]
        case dict():
            fields = cast("dict[str, object]", value)
            return {str(_clean(name)): _clean(item) for name, item in fields.items()}
        case _:
            return value
