"""Where an engine is, as the operator writes it, and how one connects to it.

    unix:///run/docker.sock     an engine of this machine
    tcp://host:2376             a remote one, over TLS with a client certificate
    ssh://user@host             a remote one, through `ssh host docker system dial-stdio`, as Docker's own client does

Plain tcp is refused: whoever reaches such a port is root on that machine.
"""

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from homeport.core.errors import Invalid
from homeport.drivers.docker.ssh import SshConnector

CONNECTIONS = 64  # at once to one engine: each read of a log and the stream of events holds one
_FORMS = 'must be "unix:///path", "tcp://host:port" with TLS files, or "ssh://[user@]host[:port]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: who signed the engine's certificate, and what we show."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """`url` as written. `local`: the engine's processes are processes of this machine."""

    url: str
    tls: TlsFiles | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        whole = {"unix": bool(parts.path), "tcp": _has_port(self.url), "ssh": bool(parts.hostname)}
        if not whole.get(parts.scheme, False) or parts.password:
            raise Invalid("engine", _FORMS, value=self.url)
        if parts.scheme == "tcp" and self.tls is None:
            raise Invalid("engine", "must come with TLS files where it is a tcp address", value=self.url)

    @property
    def local(self) -> bool:
        return self.url.startswith("unix:")

    def connector(self) -> aiohttp.BaseConnector:
        """A fresh pool of connections. Raises `Invalid` for TLS files that cannot be read."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return aiohttp.UnixConnector(parts.path, limit=CONNECTIONS)
        if parts.scheme == "ssh":
            return SshConnector(self.url, limit=CONNECTIONS)
        return aiohttp.TCPConnector(ssl=self._context(), limit=CONNECTIONS)

    @property
    def base(self) -> str:
        """What stands before the path of every request. Where the connector knows the way, the host is only a word."""
        parts = urlsplit(self.url)
        return f"https://{parts.netloc}" if parts.scheme == "tcp" else "http://engine"

    def _context(self) -> ssl.SSLContext:
        assert self.tls is not None
        try:
            context = ssl.create_default_context(cafile=str(self.tls.ca))
            context.load_cert_chain(str(self.tls.cert), str(self.tls.key))
        except OSError as error:  # SSLError is one
            raise Invalid("engine", f"must come with TLS files that can be read ({error})") from error
        return context


def usual_engine() -> str | None:
    """The address of an engine of this machine where Docker's and Podman's clients would look for one, None where there
    is no such socket."""
    named = os.environ.get("DOCKER_HOST", "")
    run = os.environ.get("XDG_RUNTIME_DIR", "")
    below = [Path(run) / "docker.sock", Path(run) / "podman/podman.sock"] if run else []
    places = [Path("/run/docker.sock"), Path("/run/podman/podman.sock"), *below]
    if named.startswith("unix://"):
        places.insert(0, Path(named.removeprefix("unix://")))
    return next((f"unix://{place}" for place in places if _is_socket(place)), None)


def _is_socket(place: Path) -> bool:
    try:
        return stat.S_ISSOCK(place.stat().st_mode)
    except OSError:  # nothing there, or in a directory that is another user's
        return False


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None and urlsplit(url).hostname is not None
    except ValueError:
        return False
