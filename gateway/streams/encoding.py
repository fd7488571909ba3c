"""Facts as events of a stream, encoded once for all who follow them in a process."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from bus.cloudevents import Event
from gateway.http.payloads import fetch_contents
from gateway.http.replies import encode
from gateway.runs.event_bodies import create_event_body, list_payloads
from store.contents import ContentStore
from store.log.identity import LogIdentity
from store.log.records import Recorded
from store.lru import LruCache

CACHED_BYTES_MAX: Final = 16 * 1024
"""Larger events are encoded for each stream: a cache of them would not be bounded by the number of its entries."""


class EventEncoder:
    """Creates the bodies of events and their SSE form.

    The caller has checked that the events belong to the workspace.
    """

    def __init__(self, contents: ContentStore, identity: LogIdentity, *, most_cached: int) -> None:
        """Create an encoder; up to `most_cached` events of at most 16 KiB are kept encoded."""
        self._contents = contents
        self._identity = identity
        self._encoded: LruCache[int, bytes] = LruCache(most_cached)

    async def create_bodies(self, workspace_id: UUID, facts: Sequence[Recorded]) -> list[Event]:
        """Return facts as they are sent, with the contents that they refer to. Raises Unavailable."""
        payloads = (payload for recorded in facts for payload in list_payloads(recorded.fact))
        contents = await fetch_contents(self._contents, workspace_id, payloads)
        return [create_event_body(self._identity, recorded, contents) for recorded in facts]

    async def write(self, recorded: Recorded) -> bytes:
        """Return a fact as a server-sent event. Raises Unavailable."""
        known = self._encoded.get(recorded.position)
        if known is not None:
            return known
        (body,) = await self.create_bodies(recorded.workspace_id, (recorded,))
        event = b"id: %b\nevent: %b\ndata: %b\n\n" % (body.id.encode(), body.type.encode(), encode(body))
        if len(event) <= CACHED_BYTES_MAX:
            self._encoded.put(recorded.position, event)
        return event
