"""What the gateway serves: workloads, their revisions and replicas, and the keys that open them.

The routes loop builds one `Gateway` from the store and hands it to `XdsServer.publish`. Values only; nothing here
knows Envoy.
"""

from dataclasses import dataclass, field
from typing import Any

from homeport.core.ids import Kind, RevisionId
from homeport.workloads.addresses import CustomPath, Stickiness


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One replica: an IP address and a port. `draining`: it gets no new requests but may finish those it has."""

    address: str
    port: int
    draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRoute:
    """A revision's share of the requests, in percent. Weight 0 keeps a revision that only finishes what it has.

    No endpoint that takes requests means that the activator gets them. `in_containers`: the replicas have addresses of
    their own, which may go with nobody left to refuse a connection.
    """

    revision: RevisionId
    weight: int
    endpoints: tuple[Endpoint, ...] = ()
    in_containers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRoute:
    """A workload's addresses and what answers there. Without a revision of weight, calls are answered 503.

    `public`: no credential is asked for at its own path and its host name, of which `host` is the first part (empty:
    it has none); `timeout_s` and `retries` are theirs, too (None: as for all). `paths` are further ones, each with
    rules of its own, the longest first.
    """

    workspace: str
    kind: Kind
    name: str
    revisions: tuple[RevisionRoute, ...]
    public: bool = False
    stickiness: Stickiness = field(default_factory=Stickiness)
    timeout_s: int | None = None
    retries: int | None = None
    paths: tuple[CustomPath, ...] = ()
    host: str = ""

    @property
    def key(self) -> str:
        """`workspace/kinds/name`: the path without its first slash. No part holds a slash, so no two collide."""
        return f"{self.workspace}/{self.kind.plural}/{self.name}"

    def revision_key(self, revision: RevisionId) -> str:
        """`workspace/kinds/name/revision`: the cluster's name, and what the activator reads in `x-hp-workload`."""
        return f"{self.key}/{revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A further address of this machine at which the gateway listens, for who comes from `subnet` (CIDR) only: a
    network of containers, to which the machine's loopback is not theirs."""

    address: str
    subnet: str
    port: int


def door_name(address: str) -> str:
    return f"door.{address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything that Envoy must know. `jwks` holds the public keys (a JSON Web Key Set); `revoked` the `jti` of keys
    that are revoked and not yet expired."""

    routes: tuple[WorkloadRoute, ...]
    jwks: dict[str, Any]
    revoked: frozenset[str] = frozenset()
