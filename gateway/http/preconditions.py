"""If-Match (RFC 9110, section 13.1.1): a strong entity tag is the version of a stream."""

import re
from typing import Final

from commands.handler import VersionMismatch
from gateway.http.rejections import Malformed

TAGS: Final = re.compile(rb'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')
TAG: Final = re.compile(rb'(W/)?"([\x21\x23-\x7e]*)"')
VERSION: Final = re.compile(rb"[1-9][0-9]{0,17}")


def parse_if_match(if_match: bytes | None) -> frozenset[int] | None:
    """Return the versions that If-Match allows, None for any. Raises Malformed, VersionMismatch if none can match."""
    if if_match is None or if_match.strip() == b"*":
        return None
    if not TAGS.fullmatch(if_match):
        raise Malformed('`If-Match` must be `*` or a list of entity tags such as `"3"`, as `ETag` returned them.')
    # Weak tags never match strongly, and a tag that is not a version was never returned by us.
    versions = frozenset(int(tag) for weak, tag in TAG.findall(if_match) if not weak and VERSION.fullmatch(tag))
    if not versions:
        raise VersionMismatch
    return versions
