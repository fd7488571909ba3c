"""The ids of child runs: the same however often a child is started, so that to start it twice is harmless."""

import hashlib
from uuid import UUID

from domain.runs.facts import StepWaiting


def child_id(parent: UUID, run_attempt: int, waiting: StepWaiting, item: int) -> UUID:
    """Give the id of one child: a UUIDv7 (RFC 9562) of the wait's time, whose random bits are a hash of its place.

    Ids that grow with time keep the indexes of the log and the read models dense.
    """
    place = f"{parent}.{run_attempt}.{waiting.node}.{waiting.attempt}.{item}"
    bits = int.from_bytes(hashlib.sha256(place.encode()).digest()[:10])
    milliseconds = int(waiting.waiting_since.timestamp() * 1_000) & (2**48 - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (bits >> 62 & 0xFFF) << 64 | 0b10 << 62 | bits & (2**62 - 1))
