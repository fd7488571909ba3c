"""The hosts that an operator allows to be called whatever their addresses: local model servers, for example."""

import re
from ipaddress import ip_address
from typing import Final

ENTRY: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)\.?)(?::(?P<port>[0-9]{1,5}))?"
)
PORT_MAX: Final = 65_535


class AllowList:
    """Entries `host` (any port) or `host:port`, separated by commas; an address of IPv6 stands in brackets."""

    __slots__ = ("_entries",)

    def __init__(self, text: str = "") -> None:
        """Read the list. Raises ValueError for an entry that is no host."""
        self._entries = frozenset(_parse_entry(entry.strip()) for entry in text.split(",") if entry.strip())

    def __contains__(self, place: tuple[str, int]) -> bool:
        """Return whether a host is allowed at a port."""
        host, port = place
        return not self._entries.isdisjoint({(_plain(host), port), (_plain(host), None)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AllowList) and other._entries == self._entries

    def __hash__(self) -> int:
        return hash(self._entries)

    def __repr__(self) -> str:
        return f"AllowList({len(self._entries)} entries)"

    def __str__(self) -> str:
        return ", ".join(sorted(host if port is None else f"{host}:{port}" for host, port in self._entries))


def _parse_entry(entry: str) -> tuple[str, int | None]:
    read = ENTRY.fullmatch(entry)
    port = int(read["port"]) if read is not None and read["port"] else None
    if read is None or (port is not None and not 0 < port <= PORT_MAX):
        raise ValueError("entries are host or host:port, separated by commas; an address of IPv6 stands in brackets")
    return _plain(read["six"] or read["name"]), port


def _plain(host: str) -> str:
    plain = host.lower().rstrip(".")
    try:
        return str(ip_address(plain))
    except ValueError:
        return plain
