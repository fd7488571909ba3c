"""Messages of the WebSocket `/v1/streams`: one envelope both ways, and one description for each kind of message."""

from enum import StrEnum
from typing import Annotated, Any, Final, Generic, TypeVar

from msgspec import Meta, Struct

from gateway.http.problems import ProblemBody
from gateway.http.replies import encode

P = TypeVar("P", bound=Struct)

SubscriptionId = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9_-]{0,64}$", description="Chosen by the client; names a subscription in its later messages."
    ),
]


class ChannelName(StrEnum):
    """The channels. `connection` is about the WebSocket itself and cannot be subscribed to."""

    CONNECTION = "connection"
    RUNS = "runs"
    TASKS = "tasks"
    ANNOUNCEMENTS = "announcements"
    PRESENCE = "presence"


class Sender(StrEnum):
    """The side that sends a message."""

    CLIENT = "client"
    SERVER = "server"


class ClientMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The envelope of a client's message."""

    channel: str
    event: str
    id: SubscriptionId = ""
    payload: dict[str, Any] = {}


class ServerMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The envelope of the server's message: `id` names the subscription, `position` is for resuming after it."""

    channel: str
    event: str
    payload: Any
    id: str = ""
    position: str = ""


class MessageKind(Struct, Generic[P], frozen=True, kw_only=True):
    """A kind of message: its sender, its names in the envelope, and the Struct of its payload."""

    sender: Sender
    channel: ChannelName
    event: str
    payload: type[P]
    description: str

    def write(self, payload: P, *, position: str | None = None) -> bytes:
        """Return a message of the server without its opening brace, for `address`: encoded once for all who get it."""
        place = b"" if position is None else b'"position":"%b",' % position.encode()
        names = b'"channel":"%b","event":"%b",' % (self.channel.encode(), self.event.encode())
        return b'%b%b"payload":%b}' % (names, place, encode(payload))


def address(message: bytes, subscription_id: str) -> bytes:
    """Return the text of a message for one subscription; without an id for the connection."""
    if not subscription_id:
        return b"{" + message
    return b'{"id":"%b",%b' % (subscription_id.encode(), message)


class Nothing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payload without fields."""


class Subscribed(Struct, frozen=True, kw_only=True):
    """Payload of the answer to `subscribe`. `position`: what follows it in the log is sent; null if nothing is kept."""

    position: str | None


class Unsubscribed(Struct, frozen=True, kw_only=True):
    """Payload of the end of a subscription. `problem` says why, if the client did not ask for it."""

    problem: ProblemBody | None = None


class Reset(Struct, frozen=True, kw_only=True):
    """Payload of a reset: a restore has removed what came after `position`, where the subscription goes on."""

    position: str


class Opened(Struct, frozen=True, kw_only=True):
    """Payload of the first message of the server: who the client is for it, and the limits of the WebSocket."""

    workspace_id: str
    user_id: str
    subscriptions_max: int
    message_bytes_max: int
    messages_per_second: int


class Closing(Struct, frozen=True, kw_only=True):
    """Payload of the last message before the server closes: the code, the reason, and when to connect again.

    `retry_ms` differs by connection, so that not all clients come back at once; null: do not connect again with the
    same credential.
    """

    code: int
    reason: str
    retry_ms: int | None


PING: Final = MessageKind(
    sender=Sender.CLIENT,
    channel=ChannelName.CONNECTION,
    event="ping",
    payload=Nothing,
    description="Ask for a `pong`: browsers cannot send the pings of the protocol. Renews the client's presence.",
)
OPENED: Final = MessageKind(
    sender=Sender.SERVER,
    channel=ChannelName.CONNECTION,
    event="opened",
    payload=Opened,
    description="The WebSocket is open and takes messages.",
)
PONG: Final = MessageKind(
    sender=Sender.SERVER,
    channel=ChannelName.CONNECTION,
    event="pong",
    payload=Nothing,
    description="The answer to `ping`.",
)
CLOSING: Final = MessageKind(
    sender=Sender.SERVER,
    channel=ChannelName.CONNECTION,
    event="closing",
    payload=Closing,
    description="The server closes the WebSocket.",
)
FAILED: Final = MessageKind(
    sender=Sender.SERVER,
    channel=ChannelName.CONNECTION,
    event="error",
    payload=ProblemBody,
    description="A message names no channel, or is none.",
)
CONNECTION_MESSAGES: Final = (PING, OPENED, PONG, CLOSING, FAILED)


class CommonKinds(Struct, frozen=True, kw_only=True):
    """The messages that every channel has beside its own."""

    unsubscribe: MessageKind[Nothing]
    subscribed: MessageKind[Subscribed]
    unsubscribed: MessageKind[Unsubscribed]
    error: MessageKind[ProblemBody]

    def list_all(self) -> tuple[MessageKind[Any], ...]:
        """Return all of them."""
        return self.unsubscribe, self.subscribed, self.unsubscribed, self.error


class DurableKinds(Struct, frozen=True, kw_only=True):
    """The messages of channels that are replayed from the log."""

    live: MessageKind[Nothing]
    lagging: MessageKind[Nothing]
    resumed: MessageKind[Nothing]
    reset: MessageKind[Reset]

    def list_all(self) -> tuple[MessageKind[Any], ...]:
        """Return all of them."""
        return self.live, self.lagging, self.resumed, self.reset


def describe_common(channel: ChannelName) -> CommonKinds:
    """Return the messages that a channel has like every other."""

    def from_server(event: str, payload: type[P], description: str) -> MessageKind[P]:
        return describe_server_message(channel, event, payload, description)

    return CommonKinds(
        unsubscribe=MessageKind(
            sender=Sender.CLIENT,
            channel=channel,
            event="unsubscribe",
            payload=Nothing,
            description="End the subscription `id`.",
        ),
        subscribed=from_server("subscribed", Subscribed, "The subscription `id` has begun."),
        unsubscribed=from_server("unsubscribed", Unsubscribed, "The subscription `id` has ended."),
        error=from_server("error", ProblemBody, "A message of the client was not accepted; `id` is its id."),
    )


def describe_durable(channel: ChannelName) -> DurableKinds:
    """Return the messages that a channel has because it is replayed from the log."""

    def from_server(event: str, payload: type[P], description: str) -> MessageKind[P]:
        return describe_server_message(channel, event, payload, description)

    return DurableKinds(
        live=from_server("live", Nothing, "The replay has reached the present."),
        lagging=from_server("lagging", Nothing, "The client reads too slowly: the log is read, and nothing is lost."),
        resumed=from_server("resumed", Nothing, "The subscription is live again."),
        reset=from_server("reset", Reset, "A restore has removed events that the client has seen."),
    )


def describe_server_message(channel: ChannelName, event: str, payload: type[P], description: str) -> MessageKind[P]:
    """Return the description of a message of the server."""
    return MessageKind(sender=Sender.SERVER, channel=channel, event=event, payload=payload, description=description)
