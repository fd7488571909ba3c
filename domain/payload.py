"""A JSON value in a fact: inline, or by reference if it is too large for a fact."""

from msgspec import Struct

INLINE_BYTES = 32 * 1024


class Payload(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, rename={"ref": "$ref"}):
    """Either `value`, or `ref` (`sha256:<hex>`) with the size in bytes and the media type of what it refers to.

    A caller's value cannot be mistaken for a reference, because it is always one level down, under `value`.
    """

    value: object = None
    ref: str | None = None
    bytes: int | None = None
    media_type: str | None = None


NOTHING = Payload()
