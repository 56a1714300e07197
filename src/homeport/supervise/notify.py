"""Telling systemd how far we are: one datagram to the socket that it names (`Type=notify`)."""

import logging
import os
import socket

log = logging.getLogger(__name__)

_SOCKET = "NOTIFY_SOCKET"


class Manager:
    """The service manager that started this process, or none. Taken from the environment once, and out of it, so that
    nothing which we start can speak for us."""

    def __init__(self) -> None:
        self._address = os.environ.pop(_SOCKET, "")

    def tell(self, *states: str) -> None:
        """Send states such as `READY=1`. Never raises: who does not listen does not stop us."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto("\n".join(states).encode(), address)
        except OSError as exc:
            log.warning("the service manager was not told %s: %s", ", ".join(states), exc)
