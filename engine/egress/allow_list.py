"""Hosts that may be called even if their addresses are not public, such as local model servers."""

import re
from ipaddress import ip_address
from typing import Final

ENTRY: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)\.?)(?::(?P<port>[0-9]{1,5}))?"
)
PORT_MAX: Final = 65_535
ENTRY_SHOWN_MAX: Final = 100


class AllowList:
    """A comma-separated list of `host` (any port) or `host:port`; IPv6 addresses are in brackets."""

    __slots__ = ("_entries",)

    def __init__(self, text: str = "") -> None:
        """Parse the list. Raises ValueError for an invalid entry."""
        self._entries = frozenset(_parse_entry(entry.strip()) for entry in text.split(",") if entry.strip())

    def __contains__(self, address: tuple[str, int]) -> bool:
        """Return whether a (host, port) is allowed."""
        host, port = address
        return not self._entries.isdisjoint({(_normalize(host), port), (_normalize(host), None)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AllowList) and other._entries == self._entries

    def __hash__(self) -> int:
        return hash(self._entries)

    def __repr__(self) -> str:
        return f"AllowList({len(self._entries)} entries)"

    def __str__(self) -> str:
        return ", ".join(sorted(host if port is None else f"{host}:{port}" for host, port in self._entries))


def _parse_entry(entry: str) -> tuple[str, int | None]:
    parsed = ENTRY.fullmatch(entry)
    port = int(parsed["port"]) if parsed is not None and parsed["port"] else None
    if parsed is None or (port is not None and not 0 < port <= PORT_MAX):
        raise ValueError(
            f"invalid entry {entry[:ENTRY_SHOWN_MAX]!r}: "
            "use host or host:port, separated by commas, with brackets around IPv6 addresses"
        )
    return _normalize(parsed["six"] or parsed["name"]), port


def _normalize(host: str) -> str:
    normalized = host.lower().rstrip(".")
    try:
        return str(ip_address(normalized))
    except ValueError:
        return normalized
