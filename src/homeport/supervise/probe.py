"""Whether a component answers: a connect to its unix socket, or GET /readyz over HTTP. Called by the supervisor on
each turn of its loop, so each probe is short and never raises.
"""

import http.client
import socket
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT_S = 2.0  # a healthy component answers in milliseconds; a longer wait would delay the watch over the others


class UnixConnection(http.client.HTTPConnection):
    """HTTP/1.1 over a unix socket."""

    def __init__(self, path: Path, timeout_s: float = _TIMEOUT_S) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def accepts(path: Path) -> bool:
    """Whether somebody listens on the unix socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def ask(path: Path, method: str, address: str, timeout_s: float = _TIMEOUT_S) -> bytes:
    """What an HTTP server on the unix socket at `path` answers. Raises OSError (TimeoutError after `timeout_s` without
    an answer) or HTTPException, also for an answer other than 200."""
    connection = UnixConnection(path, timeout_s)
    try:
        connection.request(method, address)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise http.client.HTTPException(f"{method} {address}: {answer.status}")
    return body


def ready(url: str) -> tuple[bool, str]:
    """Whether GET `url`/readyz answers 200, and otherwise what it answered, for people."""
    parts = urlsplit(url)
    return _readyz(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S))


def ready_on(path: Path) -> tuple[bool, str]:
    """The same on a unix socket."""
    return _readyz(UnixConnection(path))


def _readyz(connection: http.client.HTTPConnection) -> tuple[bool, str]:
    try:
        connection.request("GET", "/readyz", headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read(2000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as exc:
        return False, f"no answer yet ({exc})"
    finally:
        connection.close()
    return answer.status == 200, "" if answer.status == 200 else f"{answer.status} {text}"
