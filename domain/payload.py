"""A JSON value that stands in a fact as it is, or by reference when it is too large for one."""

from msgspec import Struct

INLINE_BYTES = 32 * 1024


class Payload(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, rename={"ref": "$ref"}):
    """Either `value`, or `ref` (`sha256:<hex>`) with the size in bytes and the media type of what it refers to.

    A caller's value can never pass for a reference, since it is always one level down, under `value`.
    """

    value: object = None
    ref: str | None = None
    bytes: int | None = None
    media_type: str | None = None


NOTHING = Payload()
