"""The admin port: health and metrics of a process that has no gateway, or apart from the gateway's own port."""

from typing import Any, Final

import msgspec

from callsheet.wiring.core import Core
from store.errors import Unavailable

JSON: Final = b"application/json"
TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"


class AdminApp:
    """Answers `/healthz`, `/readyz` and `/metrics`, and nothing else."""

    def __init__(self, core: Core) -> None:
        """Create it for the parts of a process."""
        self._core = core

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
        """Answer one request; there is no lifespan."""
        if scope["type"] != "http":
            return
        status, media_type, body = await self._answer(scope["path"])
        headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, path: str) -> tuple[int, bytes, bytes]:
        match path:
            case "/healthz":
                return 200, JSON, msgspec.json.encode({"status": "ok"})
            case "/readyz":
                return await self._ready()
            case "/metrics":
                return 200, TEXT, await self._core.watch.page()
            case _:
                return 404, JSON, msgspec.json.encode({"status": "not found; supported: /healthz, /readyz, /metrics"})

    async def _ready(self) -> tuple[int, bytes, bytes]:
        try:
            await self._core.check_ready()
        except Unavailable as away:
            return 503, JSON, msgspec.json.encode({"status": "unavailable", "reason": str(away)})
        degraded = self._core.list_degraded()
        return 200, JSON, msgspec.json.encode({"status": "ready", **({"degraded": degraded} if degraded else {})})
