"""Facts as events of a stream, encoded once for all who follow them in a process."""

from collections.abc import Sequence
from uuid import UUID

from bus.cloudevents import Event
from gateway.http.payloads import NO_CONTENTS, fetch_contents
from gateway.http.replies import encode
from gateway.runs.event_bodies import create_event_body, list_payloads
from gateway.streams.sharing import SharedBytes
from store.contents import ContentStore
from store.log.identity import LogIdentity
from store.log.records import Recorded


class EventEncoder:
    """Creates the bodies of events and their SSE form.

    The caller has checked that the events belong to the workspace.
    """

    def __init__(self, contents: ContentStore, identity: LogIdentity, *, cached_bytes: int) -> None:
        """Create an encoder that keeps up to `cached_bytes` of encoded events."""
        self._contents = contents
        self._identity = identity
        self._encoded: SharedBytes[int] = SharedBytes(bytes_max=cached_bytes)

    async def create_bodies(self, workspace_id: UUID, facts: Sequence[Recorded]) -> list[Event]:
        """Return facts as they are sent, with the contents that they refer to. Raises Unavailable."""
        payloads = (payload for recorded in facts for payload in list_payloads(recorded.fact))
        contents = await fetch_contents(self._contents, workspace_id, payloads)
        return [create_event_body(self._identity, recorded, contents) for recorded in facts]

    async def write(self, recorded: Recorded) -> bytes:
        """Return a fact as a server-sent event. Raises Unavailable."""
        position = recorded.position
        known = self._encoded.find(position)
        if known is not None:
            return known
        if any(payload.ref is not None for payload in list_payloads(recorded.fact)):
            return await self._encoded.get(position, lambda: self._fetch_and_render(recorded))
        event = _render(create_event_body(self._identity, recorded, NO_CONTENTS))
        self._encoded.put(position, event)
        return event

    async def _fetch_and_render(self, recorded: Recorded) -> bytes:
        (body,) = await self.create_bodies(recorded.workspace_id, (recorded,))
        return _render(body)


def _render(event: Event) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.type.encode(), encode(event))
