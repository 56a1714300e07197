"""What the docker driver calls its containers and networks, and by what it knows them again."""

from homeport.drivers.docker.containers import Owner

OWNER = Owner(installation="one", region="docks")


def test_no_two_regions_and_workspaces_share_a_network() -> None:
    names = {Owner(installation="one", region=region).network_name(of) for region, of in (("a", "b-c"), ("a-b", "c"))}
    assert len(names) == 2


def test_a_container_is_ours_by_its_name_and_its_label_together() -> None:
    name, labels = OWNER.container_name("unit-1"), {"homeport.unit": "unit-1"}
    assert OWNER.unit_in(name, labels) == OWNER.unit_in(f"/{name}", labels) == "unit-1"
    assert OWNER.unit_in("elegant_swan", labels) is None
    assert OWNER.unit_in(name, {"homeport.unit": "unit-2"}) is None
    assert OWNER.unit_in(name, {}) is None
