"""Decide whether an IP address is public, i.e. not of this machine, its network or its cloud."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv4 addresses behind a translator (RFC 6052), which forwards to the address in the last four bytes."""
UNICAST: Final = IPv6Network("2000::/3")
"""All IPv6 addresses assigned for global use (RFC 4291, 2.4); the rest are local, special or reserved."""
TUNNELS: Final = (IPv6Network("2001::/23"), IPv6Network("2002::/16"))
"""Teredo and its neighbours, and 6to4 (RFC 7526): obsolete, and may embed a private IPv4 address."""
DOCUMENTATION: Final = (IPv6Network("2001:db8::/32"), IPv6Network("3fff::/20"))
CLOUD: Final = frozenset({IPv4Address("168.63.129.16")})
"""The platform endpoint of Azure's virtual machines, although outside the private ranges."""


def is_public(text: str) -> bool:
    """Return whether an address is public; False for invalid addresses and those with a zone (`%eth0`)."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_4(address) if isinstance(address, IPv4Address) else _is_public_6(address)


def _is_public_4(address: IPv4Address) -> bool:
    special = address.is_multicast or address.is_reserved or address.is_loopback or address.is_link_local
    return address.is_global and not special and address not in CLOUD


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _is_public_4(address.ipv4_mapped)
    if address in NAT64:
        return _is_public_4(IPv4Address(int(address) & 0xFFFF_FFFF))
    special = any(address in network for network in (*TUNNELS, *DOCUMENTATION))
    return address in UNICAST and address.is_global and not special
