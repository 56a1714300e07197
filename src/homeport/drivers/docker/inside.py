"""What /proc of this machine tells of a container's processes, where its engine is local. Called by the driver.

The engine says which process is a container's first; whether that process is really the container's is asked of the
kernel, since Homeport may run in a container itself and see other pids than the engine.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from homeport.node import processes

Address = IPv4Address | IPv6Address
_NAME_SERVER = IPv4Address("127.0.0.11")  # in networks of Docker's
_LISTEN = "0A"  # the state TCP_LISTEN in /proc/net/tcp


def belongs(pid: int, container: str) -> bool:
    """Whether `pid` is a process of the container with this id, as seen from here."""
    try:
        return container in (processes.PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return False


def readable(folders: Iterable[str]) -> tuple[Path, ...]:
    """These directories of the engine's, if this machine has them and we may look into them; nothing otherwise."""
    paths = tuple(map(Path, folders))
    return paths if all(path.is_dir() and os.access(path, os.R_OK | os.X_OK) for path in paths) else ()


def is_reachable(address: Address) -> bool:
    """Whether somebody outside of a container's network may reach it there."""
    return not address.is_loopback


def is_loopback(address: Address) -> bool:
    """Whether only its own programs do, and one of those listens: not the engine's name server, which listens there."""
    return address.is_loopback and address != _NAME_SERVER


def listening_ports(pid: int, where: Callable[[Address], bool] = is_reachable) -> frozenset[int]:
    """The TCP ports on which something listens in the network of `pid`, which is the container's alone, at addresses of
    which `where` is true."""
    ports = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):  # the process has gone, or the kernel has no IPv6
            for line in (processes.PROC / str(pid) / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].rpartition(":")
                if fields[3] == _LISTEN and where(_address(address)):
                    ports.add(int(port, 16))
    return frozenset(ports)


def ask_to_end(first: int) -> None:
    """SIGTERM to every process below the first and its child, the command: the engine signals the first, an init that
    passes it on to the command only."""
    command = processes.children_of(first)
    with contextlib.suppress(PermissionError):  # another user's engine: the command alone is asked, then
        processes.send((pid for pid in processes.descendants(first) if pid not in command), signal.SIGTERM)


def signal_command(first: int, number: int) -> bool:
    """Signal the command, which is the first's child; False where that is another user's, or not there."""
    handle = next((found for pid in processes.children_of(first) if (found := processes.open_pidfd(pid))), None)
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, number)
    except (PermissionError, ProcessLookupError):
        return False
    finally:
        os.close(handle)
    return True


def _address(text: str) -> Address:
    """An address as the kernel writes it: words of four bytes, each in the machine's order (little-endian)."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    found = ip_address(b"".join(words))
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
