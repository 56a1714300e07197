"""Envoy's load reports: how many requests each endpoint has in progress. The LRS part of the xDS server.

Read through `XdsServer`, by whoever takes replicas away and, later, by the autoscaler. Decides nothing.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc
from google.protobuf import duration_pb2

from homeport.core.clock import Clock
from homeport.dataplane.changes import Changes
from homeport.dataplane.routes import Endpoint

log = logging.getLogger(__name__)

INTERVAL_S = 1  # 8 ms of Envoy's CPU at 1 000 clusters
STALE_S = 5.0  # a stream that is silent for longer says nothing about now


@dataclass(slots=True, eq=False)
class _Stream:
    """The newest report of one Envoy; `count` of those received so far. Only endpoints with requests are kept."""

    received_at: float = 0.0
    count: int = 0
    active: dict[tuple[str, int], int] = field(default_factory=dict)


class LoadReports(lrs_pb2_grpc.LoadReportingServiceServicer):
    """Receives reports and answers what they say."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._streams: set[_Stream] = set()
        self._changes = Changes()

    def in_flight(self, address: str, port: int) -> int | None:
        """Requests in progress at the endpoint, at most a second or two ago. None while no Envoy reports."""
        fresh = self._fresh()
        return sum(stream.active.get((address, port), 0) for stream in fresh) if fresh else None

    async def drained(self, endpoints: Iterable[Endpoint], timeout_s: float) -> bool:
        """Wait until a report that was made entirely after this call shows no request at `endpoints`, from every Envoy
        that reports. False after `timeout_s` seconds, and so when no Envoy reports: then nobody knows."""
        addresses = [(endpoint.address, endpoint.port) for endpoint in endpoints]
        # The next report may have been on its way before this call; the one after it was not.
        needed = {stream: stream.count + 2 for stream in self._streams}

        def done() -> bool:
            fresh = self._fresh()
            return bool(fresh) and all(
                stream.count >= needed.get(stream, 2) and not any(key in stream.active for key in addresses)
                for stream in fresh
            )

        return await self._changes.until(done, timeout_s)

    def _fresh(self) -> list[_Stream]:
        now = self._clock.monotonic()
        return [stream for stream in self._streams if stream.count and now - stream.received_at < STALE_S]

    async def StreamLoadStats(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """The service's one method: ask for reports of all clusters with their endpoints, then keep the newest."""
        stream = _Stream()
        await anext(request_iterator)
        yield lrs_pb2.LoadStatsResponse(
            send_all_clusters=True,
            load_reporting_interval=duration_pb2.Duration(seconds=INTERVAL_S),
            report_endpoint_granularity=True,
        )
        self._streams.add(stream)
        try:
            async for request in request_iterator:
                stream.active = _active(request)
                stream.received_at = self._clock.monotonic()
                stream.count += 1
                self._changes.notify()
        finally:
            self._streams.discard(stream)
            self._changes.notify()


def _active(request: Any) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for cluster in request.cluster_stats:
        for locality in cluster.upstream_locality_stats:
            for endpoint in locality.upstream_endpoint_stats:
                if endpoint.total_requests_in_progress:
                    address = endpoint.address.socket_address
                    key = (address.address, address.port_value)
                    found[key] = found.get(key, 0) + endpoint.total_requests_in_progress
    return found
