"""Entity tags and what rests on them (RFC 9110, section 13): a strong tag is the version of a stream."""

import re
from typing import Final

from commands.handler import VersionMismatch
from gateway.http.rejections import Malformed

TAGS: Final = re.compile(rb'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')
TAG: Final = re.compile(rb'(W/)?"([\x21\x23-\x7e]*)"')
VERSION: Final = re.compile(rb"[1-9][0-9]{0,17}")


def etag(version: int) -> tuple[bytes, bytes]:
    """Give the header of a version."""
    return b"etag", b'"%d"' % version


def wanted_versions(if_match: bytes | None) -> frozenset[int] | None:
    """Read If-Match; None when any version will do. Raises Malformed, VersionMismatch when no version can match."""
    if if_match is None or if_match.strip() == b"*":
        return None
    if not TAGS.fullmatch(if_match):
        raise Malformed('If-Match looks like "3", as ETag gave it.')
    # Weak tags never match strongly; a tag that is no version was never given out.
    versions = frozenset(int(tag) for weak, tag in TAG.findall(if_match) if not weak and VERSION.fullmatch(tag))
    if not versions:
        raise VersionMismatch
    return versions
