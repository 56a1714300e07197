"""Listeners of the gateway besides its own: one at this machine's address in each network of containers (pure).

Envoy's, so that containers reach the gateway whatever becomes of the server, and each like the gateway's own in all
that concerns requests. They come and go with the networks and touch nothing else. Called by `snapshot`.
"""

from ipaddress import ip_network

from envoy.config.listener.v3 import listener_pb2

# Parsing needs to know every message that the listener holds.
from envoy.config.trace.v3 import opentelemetry_pb2  # noqa: F401
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_authn  # noqa: F401
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2  # noqa: F401
from envoy.extensions.tracers.opentelemetry.samplers.v3 import cel_sampler_pb2  # noqa: F401
from google.protobuf import json_format

from homeport.dataplane.bootstrap import listener
from homeport.dataplane.packing import Packed, pack
from homeport.dataplane.routes import Door, door_name
from homeport.dataplane.tracing import Collector


def door_listener(door: Door, domain: str, collector: Collector | None = None) -> Packed:
    """The listener of `door`. Whoever comes from elsewhere is cut off, other hosts of the same wire included: this
    machine would take their packets for any of its addresses. `domain`: where workloads have their host names."""
    name = door_name(door.address)
    config = listener(name, door.address, door.port, domain, collector)
    found = json_format.ParseDict(config, listener_pb2.Listener())
    network = ip_network(door.subnet)
    (chain,) = found.filter_chains
    sources = chain.filter_chain_match.source_prefix_ranges.add(address_prefix=str(network.network_address))
    sources.prefix_len.value = network.prefixlen
    found.freebind.value = True  # the engine may come later than Envoy, and takes the address away when it stops
    return pack(name, found)
