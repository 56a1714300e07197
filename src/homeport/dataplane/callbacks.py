"""Posts results to callback URLs (edge process), and never to where only this machine can reach.

The address is looked at when the connection is made: whatever a name resolved to a moment ago, this is the address that
is connected to. Redirects are not followed.
"""

import ipaddress
import socket
from collections.abc import Sequence

import aiohttp

from homeport.invocations.handover import Delivery, Errand
from homeport.invocations.settings import is_public

TIMEOUT_S = 30  # a receiver stores the result and answers; what takes longer is for its own queue
CONNECT_TIMEOUT_S = 10
SIGNATURE = "X-Blaxel-Signature"  # public contract
TIMESTAMP = "X-Blaxel-Timestamp"  # public contract

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Forbidden(OSError):
    """The address is none for callbacks."""


class Courier:
    """Delivers callbacks. One connection for each: receivers are many and far apart."""

    def __init__(self) -> None:
        self._allowed: tuple[_Network, ...] = ()
        self._session: aiohttp.ClientSession | None = None

    def allow(self, networks: Sequence[str]) -> None:
        """These may be reached though they are not public."""
        self._allowed = tuple(ipaddress.ip_network(network) for network in networks)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def deliver(self, errand: Errand, moment: int) -> Delivery:
        """One attempt; `moment` is now in seconds since 1970. Never raises but when cancelled."""
        sent = {"Content-Type": "application/json", SIGNATURE: errand.signature, TIMESTAMP: str(moment)}
        try:
            async with self._connected().post(
                errand.url, data=errand.body.encode(), headers=sent, allow_redirects=False
            ) as response:
                return Delivery(id=errand.id, attempt=errand.attempt, status=response.status)
        except TimeoutError:
            reason = f"no answer within {TIMEOUT_S} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = _reason(error)
        return Delivery(id=errand.id, attempt=errand.attempt, reason=reason)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, force_close=True, use_dns_cache=False, socket_factory=self._socket
                ),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy would resolve names anew
            )
        return self._session

    def _socket(self, found: aiohttp.AddrInfoType) -> socket.socket:
        """A socket for the one address that is about to be connected to."""
        family, kind, protocol, _, where = found
        self._check(ipaddress.ip_address(str(where[0]).partition("%")[0]))
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    def _check(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        if any((inner or address) in network for network in self._allowed):
            return
        if not is_public(address):
            raise Forbidden(f"{address} is not a public address; [invocations] callback_networks may allow it")
        if _is_own(address):
            raise Forbidden(f"{address} is this machine's own address; [invocations] callback_networks may allow it")


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether this machine has it: only then a socket can be bound to it."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _reason(error: Exception) -> str:
    """In words, without what may be secret in an address."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Forbidden):
            return str(seen)
        seen = seen.__cause__ or seen.__context__
    cause = getattr(error, "os_error", None) or error
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
