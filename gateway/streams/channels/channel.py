"""The protocol of channels: how a client subscribes to one, and what a subscription sends."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from gateway.deps import Deps
from gateway.http.trace import Trace
from gateway.identity.caller import Caller
from gateway.identity.scopes import Scope
from gateway.streams.messages import ChannelName, CommonKinds, MessageKind


class Client(Struct, frozen=True, kw_only=True):
    """The client of a WebSocket: who it is, and the dependencies of the gateway that serves it."""

    deps: Deps
    caller: Caller
    trace: Trace


class Subscription(Protocol):
    """A client's subscription to a channel: the messages that it is sent.

    `project_id` is the project in which the client must stay a member; None for none. `position` is the one after which
    facts are sent; None for a channel without positions.
    """

    project_id: UUID | None
    position: str | None

    def follow(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield messages, as `MessageKind.write` returns them, until the subscription ends.

        Raises what `stop` was called with, Unavailable, UnreadableEvent.
        """
        ...

    def stop(self, fault: Exception) -> None:
        """End the subscription: `follow` raises `fault`."""
        ...

    def receive(self, event: str, payload: Struct) -> None:
        """Receive a message of the client other than `subscribe` and `unsubscribe`. Raises Refusal, Rejection."""
        ...

    def renew(self) -> None:
        """Note that the client has sent a message, whatever it was about."""
        ...


class Channel(Protocol):
    """A channel of `/v1/streams`: its messages, and how a client subscribes to it."""

    name: ChannelName
    scope: Scope
    common: CommonKinds
    messages: tuple[MessageKind[Any], ...]
    """All kinds of messages, both ways; one of the client is `subscribe`."""

    async def subscribe(self, client: Client, payload: Any) -> Subscription:  # noqa: ANN401  # of the kind `subscribe`
        """Create a subscription for a client that has the scope. Raises Refusal, Rejection, Unavailable."""
        ...
