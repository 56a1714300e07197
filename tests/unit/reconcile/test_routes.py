"""To which replicas the gateway may send."""

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from homeport.reconcile.routes import _is_here
from homeport.testing.factories import make_replica, make_resource, make_revision

BRIDGES = frozenset({IPv4Network("172.18.0.0/16")})


@pytest.mark.parametrize(
    ("address", "here"),
    [("", True), ("172.18.0.2", True), ("172.19.0.2", False), ("198.51.100.7:32768", True)],
    ids=["a program", "in a network that is there", "in one that is gone", "on another machine"],
)
def test_nobody_is_sent_to_a_container_whose_network_is_gone(address: str, here: bool) -> None:
    replica = replace(make_replica(make_revision(make_resource())), address=address)
    assert _is_here(replica, BRIDGES) is here
