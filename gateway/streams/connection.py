"""An open WebSocket: reads the client's messages, runs its subscriptions, and closes with a reason."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import structlog
from litestar.types import Receive
from msgspec import Struct, convert

from bus.feed import FeedStopped
from domain.ids import from_uuid
from domain.refusal import Problem
from gateway.access.permissions import Permission
from gateway.http.bodies import decode_any, find_problems
from gateway.http.problems import ProblemBody, create_problem_body, describe_fault
from gateway.http.rejections import (
    BodyUnacceptable,
    Draining,
    Malformed,
    NotPermitted,
    SubscriptionIdTaken,
    SubscriptionNotFound,
    TooMany,
    Unauthenticated,
)
from gateway.streams.channels.channel import Channel, Client, Subscription
from gateway.streams.channels.table import CHANNELS, CLIENT_MESSAGES
from gateway.streams.messages import (
    CLOSING,
    FAILED,
    OPENED,
    PING,
    PONG,
    ClientMessage,
    Closing,
    MessageKind,
    Nothing,
    Opened,
    Subscribed,
    Unsubscribed,
    address,
)
from store.log.epochs import LogRewound

PATH: Final = "/v1/streams"
CLOSE_SECONDS_MAX: Final = 1.0
"""How long a client may take to read the reason of the end."""
RETRY_MS: Final = (200, 3_000)
"""Clients wait so long before they connect again, chosen at random so that they do not all come back at once."""
INTERNAL: Final = 500
LEFT_TEAM: Final = "You are not in the team of the project any more."

CREDENTIAL_ENDED: Final = (4401, "credential_ended")
RESTARTING: Final = (1012, "draining")
NOT_TEXT: Final = (1003, "messages_must_be_text")
BUG: Final = (1011, "internal")

SendTexts = Callable[[Sequence[bytes]], Awaitable[None]]
"""Sends text messages. Raises OSError once the client has disconnected."""


class NotText(Exception):  # noqa: N818  # ends the connection, and nothing else
    """The client has sent a binary message."""


class MessageRate:
    """Limits how many messages a client may send: a bucket that refills."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        """Create it with a full bucket, for one second."""
        self._per_second = per_second
        self._clock = clock
        self._left = float(per_second)
        self._counted_at = clock()

    def admit(self) -> bool:
        """Return whether one more message is within the limit, and count it."""
        now = self._clock()
        self._left = min(self._per_second, self._left + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Running(Struct, frozen=True, eq=False):
    """A subscription, and the task that sends its messages."""

    channel: Channel
    subscription: Subscription
    task: asyncio.Task[None]


class Connection:
    """One open WebSocket."""

    def __init__(self, client: Client, receive: Receive, send: Any, send_texts: SendTexts) -> None:  # noqa: ANN401  # ASGI
        """Create it for a client whose handshake was accepted."""
        self._client = client
        self._receive = receive
        self._send_event = send
        self._send_texts = send_texts
        self._running: dict[str, Running] = {}
        self._ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._logger = structlog.get_logger("gateway")

    def stop(self, fault: Exception) -> None:
        """Close the connection; `fault` says why."""
        if not self._ended.done():
            self._ended.set_result(fault)

    async def serve(self) -> None:
        """Serve the client until one side ends the connection."""
        deps = self._client.deps
        reading = asyncio.create_task(self._read())
        try:
            with deps.open_requests.hold(self._client.caller, None, self), deps.drain.hold(self):
                await asyncio.wait({reading, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks = [reading, *(running.task for running in self._running.values())]
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(results[0], Exception):
            self.stop(results[0])
        if self._ended.done():
            await self._close(self._ended.result())

    async def _close(self, fault: Exception) -> None:
        """Send the reason, and close. A client that does not read is not waited for."""
        match fault:
            case OSError():
                return  # the client is gone
            case Unauthenticated():
                code, reason = CREDENTIAL_ENDED
            case Draining() | FeedStopped() | LogRewound():
                code, reason = RESTARTING
            case NotText():
                code, reason = NOT_TEXT
            case _:
                code, reason = BUG
                self._logger.error("gateway.bug", trace_id=self._client.trace.trace_id, path=PATH, exc_info=fault)
        retry_ms = random.randint(*RETRY_MS) if (code, reason) == RESTARTING else None  # noqa: S311  # jitter
        closing = CLOSING.write(Closing(code=code, reason=reason, retry_ms=retry_ms))
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self._send("", [closing])
                await self._send_event({"type": "websocket.close", "code": code, "reason": reason})

    async def _send(self, subscription_id: str, messages: Sequence[bytes]) -> None:
        await self._send_texts([address(message, subscription_id) for message in messages])

    async def _read(self) -> None:
        """Read messages until the client disconnects. Raises OSError, NotText."""
        settings = self._client.deps.stream_settings
        rate = MessageRate(settings.messages_per_second, time.monotonic)
        await self._send("", [OPENED.write(self._describe())])
        while True:
            message: Any = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                raise NotText
            if rate.admit():
                await self._handle(text)
            else:
                fault = TooMany(f"A client may send {settings.messages_per_second} messages a second.")
                await self._send("", [FAILED.write(self._describe_problem(fault))])

    def _describe(self) -> Opened:
        caller, settings = self._client.caller, self._client.deps.stream_settings
        return Opened(
            workspace_id=from_uuid("ws", caller.workspace_id),
            user_id=caller.user_id,
            subscriptions_max=settings.subscriptions_max,
            message_bytes_max=settings.message_bytes_max,
            messages_per_second=settings.messages_per_second,
        )

    async def _handle(self, text: str) -> None:
        """Answer a message; what is wrong with it is answered by an error with its id."""
        subscription_id, error = "", FAILED
        try:
            message = self._parse(text)
            subscription_id = message.id
            kind, payload = parse_payload(message)
            if kind.channel in CHANNELS:
                error = CHANNELS[kind.channel].common.error
            for running in self._running.values():
                running.subscription.renew()
            await self._dispatch(message, kind, payload)
        except OSError:
            raise
        except Exception as fault:  # noqa: BLE001  # every exception becomes a problem document
            await self._send(subscription_id, [error.write(self._describe_problem(fault))])

    def _parse(self, text: str) -> ClientMessage:
        value = decode_any(text.encode(), self._client.deps.settings.json_bounds)
        problems = find_problems(ClientMessage, value)
        if problems:
            raise BodyUnacceptable("The message is not as described.", problems=problems)
        return convert(value, ClientMessage)

    def _describe_problem(self, fault: Exception) -> ProblemBody:
        details = describe_fault(fault)
        if details.status == INTERNAL:
            self._logger.error("gateway.bug", trace_id=self._client.trace.trace_id, path=PATH, exc_info=fault)
        return create_problem_body(details, instance=PATH, trace=self._client.trace)

    async def _dispatch(self, message: ClientMessage, kind: MessageKind[Any], payload: Struct) -> None:
        if kind is PING:
            await self._send(message.id, [PONG.write(Nothing())])
            return
        channel = CHANNELS[kind.channel]
        if kind.event == "subscribe":
            await self._subscribe(message.id, channel, payload)
            return
        running = self._running.get(message.id)
        if running is None or running.channel is not channel:
            raise SubscriptionNotFound
        if kind.event == "unsubscribe":
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)
            await self._send(message.id, [channel.common.unsubscribed.write(Unsubscribed())])
        else:
            running.subscription.receive(kind.event, payload)

    async def _subscribe(self, subscription_id: str, channel: Channel, payload: Struct) -> None:
        subscriptions_max = self._client.deps.stream_settings.subscriptions_max
        if not subscription_id:
            raise BodyUnacceptable(problems=(Problem("/id", "is required: it names the subscription"),))
        if subscription_id in self._running:
            raise SubscriptionIdTaken
        if len(self._running) >= subscriptions_max:
            raise TooMany(f"A WebSocket may have {subscriptions_max} subscriptions.")
        self._client.caller.require(channel.scope)
        subscription = await channel.subscribe(self._client, payload)
        task = asyncio.create_task(self._run(subscription_id, channel, subscription))
        self._running[subscription_id] = Running(channel, subscription, task)

    async def _run(self, subscription_id: str, channel: Channel, subscription: Subscription) -> None:
        """Send the messages of a subscription until it ends; if it ends by a fault, that is sent."""
        try:
            await self._follow(subscription_id, channel, subscription)
        except (OSError, Draining, FeedStopped, LogRewound) as fault:
            self.stop(fault)
        except Exception as fault:  # noqa: BLE001  # every exception becomes a problem document
            if not self._ended.done():
                shown = NotPermitted(LEFT_TEAM) if isinstance(fault, Unauthenticated) else fault
                problem = self._describe_problem(shown)
                with suppress(OSError):
                    await self._send(
                        subscription_id, [channel.common.unsubscribed.write(Unsubscribed(problem=problem))]
                    )
        finally:
            self._running.pop(subscription_id, None)

    async def _follow(self, subscription_id: str, channel: Channel, subscription: Subscription) -> None:
        deps, caller, project_id = self._client.deps, self._client.caller, subscription.project_id
        with deps.open_requests.hold(caller, project_id, subscription):
            if project_id is not None:  # again: the client may have left while the subscription was created
                await deps.access.check_project(caller, project_id, (Permission.READ,))
            subscribed = channel.common.subscribed.write(Subscribed(position=subscription.position))
            await self._send(subscription_id, [subscribed])
            async with aclosing(subscription.follow()) as following:
                async for messages in following:
                    await self._send(subscription_id, messages)


def parse_payload(message: ClientMessage) -> tuple[MessageKind[Any], Struct]:
    """Return the kind of a message and its payload. Raises Malformed for an unknown kind, BodyUnacceptable."""
    kind = CLIENT_MESSAGES.get((message.channel, message.event))
    if kind is None:
        known = ", ".join(f"`{channel}` `{event}`" for channel, event in CLIENT_MESSAGES)
        raise Malformed(
            f"Unknown message: channel `{message.channel[:50]}`, event `{message.event[:50]}`. Supported: {known}."
        )
    problems = find_problems(kind.payload, message.payload)
    if problems:
        located = tuple(Problem(f"/payload{problem.pointer}", problem.message) for problem in problems)
        raise BodyUnacceptable("The payload is not as described.", problems=located)
    payload: Struct = convert(message.payload, kind.payload)
    return kind, payload
