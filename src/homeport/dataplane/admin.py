"""Asks Envoy and the edge, on their unix sockets, what they have counted. Used by whoever shows metrics."""

from pathlib import Path

import aiohttp

from homeport.dataplane import headers

TIMEOUT_S = 5.0  # ten thousand workloads take Envoy a second
_EDGE = {headers.METRICS: "1"}


async def envoy_counts(socket: Path, query: str) -> str | None:
    """What Envoy shows at `query`; None where it does not answer."""
    return await _get(socket, query, {})


async def edge_counts(socket: Path) -> str | None:
    """What the edge has counted, in Prometheus' form; None where it does not answer."""
    return await _get(socket, "/", _EDGE)


async def _get(socket: Path, query: str, sent: dict[str, str]) -> str | None:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket)), timeout=timeout) as session,
            session.get(f"http://localhost{query}", headers=sent) as answer,
        ):
            return await answer.text() if answer.status == 200 else None
    except (TimeoutError, aiohttp.ClientError, OSError):
        return None
