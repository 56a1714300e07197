"""The whole gateway → the resources that Envoy shall hold (pure, but for a cache of what it packed before).

Called by `XdsServer.publish`. A workload that did not change costs one comparison: of 10 000 only those that changed
are packed again. The gateway's own listener is not here; it never changes while Envoy runs (see `bootstrap`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from homeport.core.errors import Internal
from homeport.core.limits import CallLimits
from homeport.dataplane.credentials import deny_filter, token_filter
from homeport.dataplane.doors import door_listener
from homeport.dataplane.packing import CLUSTERS, ENDPOINTS, FILTERS, LISTENERS, ROUTES, SCOPES, TYPES, Packed
from homeport.dataplane.resources import (
    PathsKey,
    Serving,
    WorkloadResources,
    paths_keys,
    paths_resources,
    platform_resources,
    workload_resources,
)
from homeport.dataplane.routes import Door, Gateway, WorkloadRoute
from homeport.dataplane.tracing import Collector
from homeport.workloads.addresses import DOMAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Whose tokens open the gateway (`issuer`, `audience`), where requests go that no replica can take, where traces
    go, if anywhere, how long calls may take, and in what domain workloads have their host names."""

    edge_socket: Path
    issuer: str
    audience: str
    collector: Collector | None = None
    limits: CallLimits = field(default_factory=CallLimits)
    domain: str = DOMAIN

    @property
    def serving(self) -> Serving:
        return Serving(edge_socket=str(self.edge_socket), limits=self.limits, domain=self.domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The resources by type and name. Two snapshots of equal gateways are equal."""

    resources: Mapping[str, Mapping[str, Packed]]

    def of(self, type_url: str) -> Mapping[str, Packed]:
        return self.resources[type_url]


@dataclass(slots=True)
class Snapshots:
    """Builds snapshots of one gateway after another."""

    authority: Authority
    _known: dict[str, tuple[WorkloadRoute, WorkloadResources]] = field(default_factory=dict)
    _paths: dict[PathsKey, tuple[tuple[WorkloadRoute, ...], WorkloadResources]] = field(default_factory=dict)
    _filters: tuple[Gateway, tuple[Packed, Packed]] | None = None
    _doors: dict[Door, Packed] = field(default_factory=dict)
    _platform: WorkloadResources = field(default_factory=platform_resources)

    def build(self, gateway: Gateway, doors: Collection[Door] = ()) -> Snapshot:
        """Raises `Internal` when two routes claim the same address: the store keeps names unique."""
        known: dict[str, tuple[WorkloadRoute, WorkloadResources]] = {}
        for route in gateway.routes:
            key = route.key
            if key in known:
                raise Internal(detail=f"two routes claim {key}")
            before = self._known.get(key)
            if before is not None and (before[0] is route or before[0] == route):
                known[key] = before
            else:
                known[key] = (route, workload_resources(route, self.authority.serving))
        self._known = known
        self._paths = self._pack_paths(gateway.routes)
        resources: dict[str, dict[str, Packed]] = {type_url: {} for type_url in TYPES}
        workloads = (*known.values(), *self._paths.values())
        for part in (self._platform, *(resources for _, resources in workloads)):
            for type_url, packed in part.resources:
                resources[type_url][packed.name] = packed
        for packed in self._pack_filters(gateway):
            resources[FILTERS][packed.name] = packed
        self._doors = {door: self._doors.get(door) or self._pack_door(door) for door in doors}
        resources[LISTENERS] = {packed.name: packed for packed in self._doors.values()}
        return Snapshot(resources=resources)

    def _pack_door(self, door: Door) -> Packed:
        return door_listener(door, self.authority.domain, self.authority.collector)

    def _pack_paths(
        self, routes: Iterable[WorkloadRoute]
    ) -> dict[PathsKey, tuple[tuple[WorkloadRoute, ...], WorkloadResources]]:
        """The tables of custom paths, which workloads share that have some with the same beginning."""
        sharing: dict[PathsKey, list[WorkloadRoute]] = defaultdict(list)
        for route in routes:
            for key in paths_keys(route) if route.paths else ():
                sharing[key].append(route)
        found = {}
        for key, members in sharing.items():
            before = self._paths.get(key)
            if before is not None and before[0] == tuple(members):
                found[key] = before
            else:
                found[key] = (tuple(members), paths_resources(key, members, self.authority.serving))
        return found

    def _pack_filters(self, gateway: Gateway) -> tuple[Packed, Packed]:
        before = self._filters
        if before is not None and before[0].jwks == gateway.jwks and before[0].revoked == gateway.revoked:
            return before[1]
        tokens = token_filter(gateway.jwks, self.authority.issuer, self.authority.audience)
        packed = (tokens, deny_filter(gateway.revoked))
        self._filters = (gateway, packed)
        return packed


__all__ = ["CLUSTERS", "ENDPOINTS", "FILTERS", "LISTENERS", "ROUTES", "SCOPES", "Authority", "Snapshot", "Snapshots"]
