"""Where MCP sessions go, as it is told to Envoy."""

import base64
import re

import pytest
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2 as sessions
from envoy.extensions.http.stateful_session.envelope.v3 import envelope_pb2

from homeport.core.ids import Kind, RevisionId
from homeport.core.limits import CallLimits
from homeport.dataplane import headers
from homeport.dataplane.routes import Endpoint, RevisionRoute, WorkloadRoute
from homeport.dataplane.sessions import HEADER, session_begun_at
from homeport.dataplane.tables import own_table


def revision(name: str, weight: int, *ports: int) -> RevisionRoute:
    endpoints = tuple(Endpoint(address="127.0.0.1", port=port) for port in ports)
    return RevisionRoute(revision=RevisionId(name), weight=weight, endpoints=endpoints)


def table(kind: Kind, *revisions: RevisionRoute):  # type: ignore[no-untyped-def]
    route = WorkloadRoute(workspace="acme", kind=kind, name="one", revisions=revisions)
    return own_table(route, CallLimits()).virtual_hosts[0]


def test_the_id_of_a_functions_session_names_its_replica() -> None:
    rule = sessions.StatefulSessionPerRoute()
    assert table(Kind.FUNCTION, revision("a", 100, 1)).typed_per_filter_config[headers.SESSION_FILTER].Unpack(rule)
    state = envelope_pb2.EnvelopeSessionState()
    assert rule.stateful_session.session_state.typed_config.Unpack(state)
    assert (state.header.name, rule.stateful_session.strict) == (HEADER, False)


def test_agents_have_no_such_rule() -> None:
    assert headers.SESSION_FILTER not in table(Kind.AGENT, revision("a", 100, 1)).typed_per_filter_config


@pytest.mark.parametrize("kind", [Kind.FUNCTION, Kind.AGENT])
def test_of_two_revisions_a_session_goes_to_the_one_that_began_it(kind: Kind) -> None:
    found = table(kind, revision("a", 50, 1, 2), revision("b", 50, 3), revision("old", 0, 4))
    by_session = [one for one in found.routes if any(header.name == HEADER for header in one.match.headers)]
    assert bool(by_session) is (kind is Kind.FUNCTION)
    for one in by_session:
        (pattern,) = (header for header in one.match.headers if header.name == HEADER)
        ports = (1, 2) if one.route.cluster.endswith("/a") else (3,)
        for port in (1, 2, 3, 4):
            home = base64.b64encode(f"127.0.0.1:{port}".encode()).decode()
            matched = re.fullmatch(pattern.string_match.safe_regex.regex, f"{home};UV:eA==")
            assert bool(matched) is (port in ports)


def test_with_one_revision_there_is_nothing_to_choose() -> None:
    found = table(Kind.FUNCTION, revision("a", 100, 1), revision("old", 0, 2))
    assert not any(header.name == HEADER for one in found.routes for header in one.match.headers)


def test_an_address_is_matched_as_it_is_written() -> None:
    matcher = session_begun_at([Endpoint(address="10.1.2.3", port=65535)])
    assert not re.fullmatch(matcher.string_match.safe_regex.regex, "x;UV:eA==")
