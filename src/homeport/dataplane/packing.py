"""A resource as Envoy gets it: packed once, named, and with a version that is the hash of its content.

Used by the modules that build resources. A restarted server computes the same versions, so it sends nothing again.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, duration_pb2

CLUSTERS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
SCOPES = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
FILTERS = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
LISTENERS = "type.googleapis.com/envoy.config.listener.v3.Listener"
TYPES = (CLUSTERS, ENDPOINTS, SCOPES, ROUTES, FILTERS, LISTENERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A resource ready to send. `message` is a `discovery.v3.Resource`; equal versions mean equal content."""

    name: str
    version: str
    message: Any


def pack(name: str, message: Any) -> Packed:
    """Pack `message` for delta ADS under `name`."""
    packed = any_of(message)
    version = hashlib.blake2b(packed.value, digest_size=12).hexdigest()
    return Packed(
        name=name,
        version=version,
        message=discovery_pb2.Resource(name=name, version=version, resource=packed),
    )


def any_of(message: Any) -> Any:
    """`message` in an `Any`, its bytes in one fixed order so that they can be compared."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def seconds(duration_s: float) -> Any:
    """A protobuf duration."""
    whole = int(duration_s)
    return duration_pb2.Duration(seconds=whole, nanos=round((duration_s - whole) * 1e9))
