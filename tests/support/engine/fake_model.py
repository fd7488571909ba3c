"""A fake model: its answers can be held back, it fails on request, and it counts its calls."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from domain.graphs.graph import ErrorClass
from domain.runs.facts import Usage
from domain.runs.prices import ModelPrice, Priced
from engine.providers.provider import ModelRequest, ModelResponse, ProviderFault, Repair

PRICES = {
    name: Priced(model=name, price=ModelPrice(input_usd="100", output_usd="1000"))
    for name in ("fake/moody", "fake/clumsy", "fake/counting")
}


def write_clumsy_json(call: int) -> str:
    return {1: "It is one.", 2: '{"n": "two"}'}.get(call, f'```json\n{{"n": {call}}}\n```')


@dataclass
class FakeModel:
    """A model. `fake/free` answers at once, `fake/held` when `open` is set, `fake/moody` after two failures.

    `fake/counting` is held too, and reports its usage when it is aborted.

    `fake/clumsy` answers with the number of its call as JSON, but first in words and then as a string.

    `calls` counts the calls by prompt, `tokens` collects the idempotency tokens that came with them.
    """

    calls: Counter[str] = field(default_factory=Counter[str])
    tokens: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    open: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: Counter[str] = field(default_factory=Counter[str])
    answered: Counter[str] = field(default_factory=Counter[str])
    signature: str = ""
    repairs: list[Repair | None] = field(default_factory=list[Repair | None])

    async def complete(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelResponse:
        self.calls[request.prompt] += 1
        self.tokens.setdefault(request.prompt, set()).add(request.idempotency_token)
        call = self.calls[request.prompt]
        usage = Usage(model=f"fake/{request.model}", input_tokens=1, output_tokens=call, latency_ms=0.0)
        if request.model == "held":
            await self._wait_until_open(request.prompt)
        if request.model == "counting":
            await self._wait_until_open(request.prompt, lambda: request.aborted(usage))
        if request.model == "moody" and call <= 2:
            raise ProviderFault(ErrorClass.OVERLOADED, "not in the mood", usage=usage)
        self.repairs.append(request.repair)
        text = write_clumsy_json(call) if request.model == "clumsy" else f"{request.prompt} #{call}{self.signature}"
        self.answered[request.prompt] += 1
        on_delta(text)
        return ModelResponse(text=text, usage=usage)

    async def _wait_until_open(self, prompt: str, on_abort: Callable[[], None] = lambda: None) -> None:
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.aborted[prompt] += 1
            on_abort()
            raise

    async def close(self) -> None:
        """Return at once: there are no connections."""
