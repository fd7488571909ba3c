"""Paths are matched exactly, so that a proxy's rules about paths hold for whatever reaches an operation."""

from litestar.exceptions import NotFoundException


def check_path(path: str, raw_path: bytes) -> None:
    """Raise NotFoundException for a path that a proxy could interpret differently.

    Examples: empty segments (`//v1/…` as a link names another host), trailing slashes, and slashes that are encoded.
    """
    has_empty_segment = "//" in path or (path.endswith("/") and path != "/")
    if has_empty_segment or raw_path.count(b"/") != path.count("/"):
        raise NotFoundException
