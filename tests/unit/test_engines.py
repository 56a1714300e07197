"""At which addresses the gateway listens for the containers of this machine."""

import pytest

from homeport.dataplane.routes import Door, door_name
from homeport.drivers.docker.networks import Bridge
from homeport.engines import EVERYWHERE, GatewayAt, RegionDoors

ONE = Bridge(address="172.18.0.1", subnet="172.18.0.0/16")
OTHER = Bridge(address="172.19.0.1", subnet="172.19.0.0/16")


class Gateway:
    """Remembers its doors."""

    def __init__(self, host: str) -> None:
        self.doors: frozenset[Door] = frozenset()
        self.refused = {f"Listener {door_name(OTHER.address)}": "Address already in use", "Cluster x": "bad"}
        self.at = GatewayAt(host=host, port=8080, open_doors=self.open, refused=lambda: self.refused)

    async def open(self, doors: frozenset[Door], timeout_s: float) -> bool:
        self.doors = doors
        return True


async def test_the_bridges_of_every_region_are_open_until_their_own_region_lets_go_of_them() -> None:
    gateway, bridges = Gateway("127.0.0.1"), {}
    first, second = (RegionDoors(gateway.at, region, bridges) for region in ("first", "second"))
    await first.open([ONE])
    await second.open([OTHER])
    assert {door.address for door in gateway.doors} == {ONE.address, OTHER.address}
    await first.open([])
    assert gateway.doors == {Door(address=OTHER.address, subnet=OTHER.subnet, port=8080)}
    assert (first.trouble(), second.trouble()) == (None, "Address already in use")


@pytest.mark.parametrize(("host", "doors"), [(EVERYWHERE, 0), (ONE.address, 1), ("::", 2), ("localhost", 2)])
async def test_the_gateway_listens_nowhere_twice(host: str, doors: int) -> None:
    gateway = Gateway(host)
    await RegionDoors(gateway.at, "docks", {}).open([ONE, OTHER])
    assert len(gateway.doors) == doors
