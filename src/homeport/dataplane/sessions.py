"""MCP sessions stay with the replica that began them: it keeps them in memory (pure).

Envoy puts the replica's address beside the session's id on its way out, and takes it off again on its way in, so that
it needs no table of its own and clients need to keep nothing but the id. The id that a client sees is therefore longer
than the one that its program made. A replica that is gone takes its sessions with it: another is chosen, whose program
does not know the id (404 in MCP), and the client begins anew.
"""

import base64
import re
from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import extension_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2 as sessions
from envoy.extensions.http.stateful_session.envelope.v3 import envelope_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from homeport.core.ids import Kind
from homeport.dataplane import headers
from homeport.dataplane.packing import any_of
from homeport.dataplane.routes import Endpoint, WorkloadRoute

HEADER = "mcp-session-id"


def session_rules(route: WorkloadRoute) -> dict[str, Any]:
    """The filter's settings for a workload."""
    if route.kind is not Kind.FUNCTION:
        return {}
    header = envelope_pb2.EnvelopeSessionState.Header(name=HEADER)
    state = extension_pb2.TypedExtensionConfig(
        name="envoy.http.stateful_session.envelope",
        typed_config=any_of(envelope_pb2.EnvelopeSessionState(header=header)),
    )
    rule = sessions.StatefulSessionPerRoute(stateful_session=sessions.StatefulSession(session_state=state))
    return {headers.SESSION_FILTER: any_of(rule)}


def session_begun_at(endpoints: Iterable[Endpoint]) -> Any:
    """Matches requests of sessions that one of `endpoints` began."""
    addresses = (f"{endpoint.address}:{endpoint.port}" for endpoint in endpoints)
    homes = "|".join(re.escape(base64.b64encode(address.encode()).decode()) for address in addresses)
    pattern = regex_pb2.RegexMatcher(regex=f"({homes});UV:.*")
    return route_pb2.HeaderMatcher(name=HEADER, string_match=string_pb2.StringMatcher(safe_regex=pattern))
