"""Which addresses are on a link of this machine."""

import sys
from pathlib import Path

import pytest

from homeport.core.links import is_linked, linked_networks

TABLE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
br-1\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
tun0\t0000000A\t010200C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0
all\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is one of a little-endian machine")
def test_an_address_behind_a_gateway_is_on_no_link(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(TABLE)
    networks = linked_networks(tmp_path / "route")
    assert sorted(map(str, networks)) == ["172.18.0.0/16", "192.0.2.0/24"]
    assert is_linked("172.18.0.2", networks) and is_linked("192.0.2.77", networks)
    for elsewhere in ("172.19.0.2", "10.0.0.1", "127.0.0.1", "::1", "no address"):
        assert not is_linked(elsewhere, networks)


def test_the_table_of_this_machine_can_be_read() -> None:
    assert all(network.prefixlen > 0 for network in linked_networks())
