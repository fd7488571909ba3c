"""Idempotency-Key: the identity of a request that may be retried (draft-ietf-httpapi-idempotency-key-header)."""

import hashlib
import re
from typing import Final

from gateway.http.rejections import Malformed
from gateway.identity.caller import Caller
from store.log.records import CommandId

KEY: Final = re.compile(rb'"?([\x21\x23-\x5b\x5d-\x7e]{1,255})"?')
REPLAYED: Final = (b"idempotency-replayed", b"true")


def command_id(header: bytes | None, caller: Caller, route: str, body: bytes) -> CommandId | None:
    """Return the id of a command, None without a key; `route` is the method and the path. Raises Malformed."""
    if header is None:
        return None
    found = KEY.fullmatch(header)
    if found is None:
        raise Malformed("`Idempotency-Key` must be 1 to 255 visible ASCII characters without spaces.")
    identity = b"\0".join(
        [caller.workspace_id.bytes, caller.actor.kind.encode(), caller.actor.id.encode(), route.encode(), found[1]]
    )
    return CommandId(hashlib.sha256(identity).digest(), hashlib.sha256(body).digest())
