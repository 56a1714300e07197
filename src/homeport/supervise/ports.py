"""The public port: choosing a free one, and naming who holds a taken one. Called at the start of `up`. Binds only to
find out; the listener itself is Envoy's.
"""

import errno
import os
import socket
from pathlib import Path

from homeport.core.errors import Conflict, Invalid
from homeport.settings import DEFAULT_PORT

_TRIES = 100  # ports looked at after the wanted one: far more than anybody runs side by side
_LISTEN = "0A"  # the state TCP_LISTEN in /proc/net/tcp


def choose_port(host: str, given: int | None, remembered: int | None) -> tuple[int, str | None]:
    """The port to listen on, and a sentence for people when it is not the one they expect.

    A given port is taken or refused (`Conflict`); otherwise the one of the last start, or 8080, or the next free one.
    """
    if given is not None:
        if not is_free(host, given):
            raise Conflict(f"Port {given} on {host} is taken: {holder(given)}.", hint=_elsewhere(given))
        return given, None
    wanted = remembered or DEFAULT_PORT
    for port in range(wanted, min(wanted + _TRIES, 65536)):
        if is_free(host, port):
            return port, None if port == wanted else f"Port {wanted} is taken ({holder(wanted)}); using {port} instead."
    raise Conflict(f"No port from {wanted} on is free on {host}.", hint="Choose one with --port.")


def is_free(host: str, port: int) -> bool:
    """Whether `port` can be bound on `host` now. Raises `Invalid` when the address cannot be used at all."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore connections that are closing
            probe.bind(address)
    except socket.gaierror as exc:
        raise Invalid("--host", "must be an address of this machine", value=host) from exc
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return False
        if exc.errno == errno.EACCES:
            raise Invalid("--port", "ports below 1024 are for root", value=port, hint=_elsewhere(port)) from exc
        raise Invalid("--host", f"must be an address of this machine: {exc.strerror}", value=host) from exc
    return True


def holder(port: int) -> str:
    """Who listens on `port`, for people: the process where we may see it, else the command that shows it."""
    inodes = _listening(port)
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        if inodes & _sockets_of(pid):
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                break
            return f"process {pid} ({name}) listens there"
    return f"a process of another user listens there; ask `sudo ss -ltnp 'sport = :{port}'`"


def _listening(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _sockets_of(pid: int) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                found.add(os.readlink(entry.path))
            except OSError:
                continue
    except OSError:
        return set()  # gone, or not ours to see
    return found


def _elsewhere(port: int) -> str:
    return f"Stop it, or choose another port, such as --port {port + 1 if 1024 <= port < 65535 else DEFAULT_PORT}."
