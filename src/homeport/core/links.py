"""The networks that this machine itself is in, as the kernel would send to them. Read before anybody is sent to a
container: at the address of one whose bridge is gone there may be a stranger, behind this machine's own gateway."""

import socket
import struct
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

ROUTES = Path("/proc/net/route")


def linked_networks(routes: Path = ROUTES) -> frozenset[IPv4Network]:
    """Those that are reached over a link of this machine and not through a gateway (IPv4)."""
    found = set()
    for line in routes.read_text().splitlines()[1:]:
        _, destination, gateway, _, _, _, _, mask, *_ = line.split()
        if int(gateway, 16) == 0 and int(mask, 16) != 0:
            found.add(IPv4Network((_address(destination), _address(mask))))
    return frozenset(found)


def is_linked(address: str, networks: frozenset[IPv4Network]) -> bool:
    """Whether a host of `networks` has that address; an address that is no IPv4 one has none."""
    try:
        host = IPv4Address(address)
    except ValueError:
        return False
    return any(host in network for network in networks)


def _address(word: str) -> str:
    """From the kernel's form: hexadecimal, in the machine's own order of bytes."""
    return socket.inet_ntoa(struct.pack("=L", int(word, 16)))
