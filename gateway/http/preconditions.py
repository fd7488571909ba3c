"""If-Match and If-None-Match (RFC 9110, section 13.1): an entity tag is the version of a stream.

A tag that a proxy has rewritten still names its version. Compressing proxies make tags weak (nginx) or add the coding
to them (`"3-gzip"`, Apache and Caddy), because the bytes differ; by the letter of the RFC no `If-Match` behind such a
proxy could ever succeed.
"""

import re
from typing import Final

from msgspec import Struct

from gateway.http.rejections import Malformed

TAGS: Final = re.compile(rb'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')
TAG: Final = re.compile(rb'"([\x21\x23-\x7e]*)"')
VERSION: Final = re.compile(rb"([1-9][0-9]{0,17})(?:[-;]{1,2}(?:gzip|br|zstd|deflate))?")
NEVER_MET: Final = 0
"""A version that no existing stream has: a command that requires it is refused."""


class Precondition(Struct, frozen=True):
    """The versions that a change may start from: `allowed` (None: any) without `excluded` (None: any)."""

    allowed: frozenset[int] | None
    excluded: frozenset[int] | None

    def is_met(self, version: int) -> bool:
        """Return whether an existing resource of this version may be changed."""
        if self.allowed is not None and version not in self.allowed:
            return False
        return self.excluded is not None and version not in self.excluded


NO_PRECONDITION: Final = Precondition(None, frozenset())


def parse_precondition(if_match: bytes | None, if_none_match: bytes | None) -> Precondition:
    """Return the precondition of a change. Raises Malformed."""
    if if_match is None and if_none_match is None:
        return NO_PRECONDITION
    excluded = frozenset[int]() if if_none_match is None else parse_tags("If-None-Match", if_none_match)
    return Precondition(None if if_match is None else parse_tags("If-Match", if_match), excluded)


def parse_tags(name: str, header: bytes) -> frozenset[int] | None:
    """Return the versions in a list of entity tags, None for `*`. Raises Malformed.

    A tag that is not a version was never returned by us, and matches nothing.
    """
    if header.strip() == b"*":
        return None
    if not TAGS.fullmatch(header):
        raise Malformed(f'`{name}` must be `*` or a list of entity tags such as `"3"`, as `ETag` returned them.')
    found = (VERSION.fullmatch(tag) for tag in TAG.findall(header))
    return frozenset(int(version[1]) for version in found if version is not None)


def is_not_modified(if_none_match: bytes, version: int) -> bool:
    """Return whether the caller has this version of a resource already. Raises Malformed."""
    versions = parse_tags("If-None-Match", if_none_match)
    return versions is None or version in versions
