"""A real HTTP model server on a free port, in a thread of its own or as a program, with a ledger of its calls.

`POST /control` with `{"behaviours": [...]}` says how the next calls go, one each, before models name the behaviour
again; `GET /ledger` returns all calls. `python -m tests.support.model_server.server` runs it and prints its base URL.
"""

import asyncio
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Self

import msgspec
from msgspec import Struct

from tests.support.model_server import openai_images
from tests.support.model_server.anthropic_messages import AnthropicMessages
from tests.support.model_server.behaviours import behave
from tests.support.model_server.ledger import Call
from tests.support.model_server.openai_chat import OpenAiChat
from tests.support.model_server.request_log import LINE_BYTES_MAX, Reply, Request, read_request
from tests.support.model_server.speech import ProtocolDialect

SPEECHES: tuple[ProtocolDialect, ...] = (OpenAiChat(), AnthropicMessages())
PROTOCOLS: Mapping[str, ProtocolDialect] = {speech.path: speech for speech in SPEECHES}


class Control(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    behaviours: list[str]


class ModelServer:
    """`with ModelServer() as server`: then `server.base_url`, `server.calls` and `server.tell`."""

    def __init__(self) -> None:
        """Create the server; `with` starts it."""
        self.calls: list[Call] = []
        self.hung_up = threading.Event()
        self.connections = 0
        self._scripted: deque[str] = deque()
        self._seen: Counter[str] = Counter()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(self._ready.set)), name="model-server")
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.base_url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the model server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def script_behaviours(self, *behaviours: str) -> None:
        """Set the behaviours of the next calls, one each."""
        self._scripted.extend(behaviours)

    async def serve(self, on_ready: Callable[[], None]) -> None:
        """Serve until stopped; `on_ready` is called once `base_url` is known."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=LINE_BYTES_MAX)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        on_ready()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await read_request(reader)) is not None:
                await self._answer(request, Reply(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.hung_up.set()
            writer.transport.abort()

    async def _answer(self, request: Request, reply: Reply) -> None:
        match request.method, request.path:
            case "GET", "/ledger":
                await reply.json(200, self.calls)
            case "POST", "/control":
                self.script_behaviours(*msgspec.json.decode(request.body, type=Control).behaviours)
                await reply.json(200, {})
            case "POST", path if (speech := PROTOCOLS.get(path.partition("?")[0])) is not None:
                await self._model_call(request, reply, speech)
            case "POST", path if path.partition("?")[0] == openai_images.PATH:
                call = self._record(request, "images")
                await openai_images.answer_images(call.behaviour, call.body, reply)
            case _:
                await reply.json(404, {"error": {"message": "there is no such route"}})

    async def _model_call(self, request: Request, reply: Reply, speech: ProtocolDialect) -> None:
        call = self._record(request, speech.name)
        await behave(self._for_now(call.behaviour, call), call.body, reply, speech)

    def _record(self, request: Request, protocol: str) -> Call:
        """Return a call with the behaviour that answers it, after it was added to the ledger."""
        body = msgspec.json.decode(request.body, type=dict[str, Any])
        behaviour = self._scripted.popleft() if self._scripted else str(body["model"])
        call = Call(protocol=protocol, path=request.path, behaviour=behaviour, headers=request.headers, body=body)
        self.calls.append(call)
        return call

    def _for_now(self, behaviour: str, call: Call) -> str:
        """`NAME|xN` is NAME for the first N calls with one idempotency token, and `echo` after them."""
        name, _, times = behaviour.partition("|x")
        token = f"{name} {call.idempotency_token}"
        self._seen[token] += 1
        return name if not times or self._seen[token] <= int(times) else "echo"


def main() -> None:
    """Serve until killed."""
    server = ModelServer()

    def announce() -> None:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()

    asyncio.run(server.serve(announce))


if __name__ == "__main__":
    main()
