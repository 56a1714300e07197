"""Volumes as specifications write them: what is read, and what is refused by its field and the rule."""

import json
from typing import Any

import pytest

from homeport.core.errors import Invalid
from homeport.core.ids import UnitId
from homeport.core.units import UnitKind, UnitSpec, VolumeMount
from homeport.core.volumes import is_shared, read_attachments, read_size, stored_persistent, with_volumes

EPHEMERAL = {"name": "scratch", "mountPath": "/scratch", "type": "ephemeral", "sizeMb": 10}


def spec(*volumes: dict[str, Any], region: str | None = "local") -> dict[str, Any]:
    return {"region": region, "volumes": [*volumes]}


def unit(*volumes: VolumeMount, name: str = "u") -> UnitSpec:
    return UnitSpec(id=UnitId(name), kind=UnitKind.REPLICA, argv=("x",), env={}, volumes=volumes)


def test_attachments_are_read_and_their_paths_are_normal() -> None:
    data = {"name": "data", "mountPath": "//mnt/./data/", "readOnly": True, "sizeMb": 7, "type": None}
    first, second = read_attachments(spec(data, EPHEMERAL))
    assert (first.name, first.path, first.read_only, first.size_mb) == ("data", "/mnt/data", True, None)
    assert (second.path, second.size_mb, first.persistent, second.persistent) == ("/scratch", 10, True, False)
    assert [one.name for one in stored_persistent(spec(data, EPHEMERAL))] == ["data"]
    assert read_attachments({}) == read_attachments({"volumes": None}) == read_attachments({"volumes": []}) == ()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/app", "/app/data", "/proc", "/proc/1", "/tmp", "/tmp/x", "/usr/lib", "/etc", "/dev/shm", "/homeport"),
        *("/home", "/home/agent", "/var", "/sys", "/run/x", "//app", "/./app/"),
    ],
)
def test_a_path_that_is_somebody_elses_is_refused_with_the_rule(path: str) -> None:
    with pytest.raises(Invalid, match=r"spec.volumes\[0\].mountPath: must be a place of its own, such as /data"):
        read_attachments(spec({"name": "data", "mountPath": path}))


@pytest.mark.parametrize("path", ["/data", "/home/agent/data", "/var/lib/x", "/opt/data", "/application", "/mnt", "/é"])
def test_a_path_of_its_own_is_good(path: str) -> None:
    assert read_attachments(spec({"name": "data", "mountPath": path}))[0].path == path


@pytest.mark.parametrize("path", [None, "", "data", "./data", "/a/../b", "/..", "/a\0b", "/a\nb", "/" + "a" * 513])
def test_a_path_that_is_none_is_refused(path: str | None) -> None:
    with pytest.raises(Invalid, match=r"spec.volumes\[0\].mountPath: must"):
        read_attachments(spec({"name": "data", "mountPath": path}))


@pytest.mark.parametrize(
    ("element", "field"),
    [
        ("data", ""),
        ({"mountPath": "/a"}, ".name"),
        ({"name": 3, "mountPath": "/a"}, ".name"),
        ({"name": "a", "mountPath": "/a", "type": "shared"}, ".type"),
        ({"name": "a", "mountPath": "/a", "type": "ephemeral"}, ".sizeMb"),
        ({"name": "a", "mountPath": "/a", "type": "ephemeral", "sizeMb": 0}, ".sizeMb"),
        ({"name": "a", "mountPath": "/a", "type": "ephemeral", "sizeMb": True}, ".sizeMb"),
        ({**EPHEMERAL, "readOnly": True}, ".readOnly"),
        ({"name": "a", "mountPath": "/a", "readOnly": "yes"}, ".readOnly"),
    ],
)
def test_an_element_that_breaks_a_rule_is_named(element: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_attachments({"region": "local", "volumes": [EPHEMERAL | {"name": "x", "mountPath": "/x"}, element]})
    assert caught.value.field == f"spec.volumes[1]{field}"


def test_volumes_do_not_overlap_and_have_names_of_their_own() -> None:
    for first, second in (("/a", "/a"), ("/a", "/a/b"), ("/a/b", "/a")):
        with pytest.raises(Invalid, match=r"spec.volumes\[1\].mountPath: must not be inside of another"):
            read_attachments(spec({"name": "a", "mountPath": first}, {"name": "b", "mountPath": second}))
    assert len(read_attachments(spec({"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/ab"}))) == 2
    with pytest.raises(Invalid, match=r"spec.volumes\[1\].name: must name another volume"):
        read_attachments(spec({"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/b"}))
    with pytest.raises(Invalid, match=r"spec.volumes: must have at most 16"):
        read_attachments(spec(*({"name": f"v{n}", "mountPath": f"/v{n}"} for n in range(17))))


def test_what_outlives_programs_needs_a_region_and_what_does_not_needs_none() -> None:
    with pytest.raises(Invalid, match=r"spec.region: must be given with volumes"):
        read_attachments(spec({"name": "a", "mountPath": "/a"}, region=None))
    assert read_attachments(spec(EPHEMERAL, region=None))


def test_an_ephemeral_volume_at_the_root_is_all_that_may_be_written() -> None:
    whole = {**EPHEMERAL, "mountPath": "/", "sizeMb": 10240}
    attachments = read_attachments(spec(whole, {**EPHEMERAL, "name": "other"}))
    made = with_volumes(unit(), attachments, {})
    assert made.disk_mb == 10240 and [mount.path for mount in made.volumes] == ["/scratch"]


def test_a_persistent_volume_is_mounted_where_its_attachment_says() -> None:
    attachments = read_attachments(spec({"name": "a", "mountPath": "/a"}, EPHEMERAL))
    kept = {"a": VolumeMount(path="/elsewhere", name="a", size_mb=64, volume="volume-1", alone=True)}
    made = with_volumes(unit(), attachments, kept)
    assert [(one.path, one.volume, one.size_mb, one.alone) for one in made.volumes] == [
        ("/a", "volume-1", 64, True),
        ("/scratch", None, 10, False),
    ]
    assert UnitSpec.from_json(json.loads(json.dumps(made.without_secrets().to_json()))).volumes == made.volumes


def test_a_volume_with_which_one_must_be_alone_makes_rivals() -> None:
    writer = VolumeMount(path="/a", name="a", size_mb=64, volume="volume-1", alone=True)
    reader = VolumeMount(path="/a", name="a", size_mb=64, volume="volume-1", writable=False)
    own = VolumeMount(path="/a", name="a", size_mb=64)
    assert unit(writer, name="one").rival([unit(reader, name="two")])
    assert unit(reader, name="one").rival([unit(own, name="zero"), unit(writer, name="two")])
    assert unit(reader, name="one").rival([unit(reader, name="two")]) is None
    assert unit(own, name="one").rival([unit(own, name="two"), unit(writer, name="three")]) is None
    assert unit(writer, name="one").rival([unit(writer, name="one")]) is None, "nobody is a rival of itself"


def test_a_volume_is_shared_where_its_label_says_so() -> None:
    assert is_shared({"homeport.dev/shared": " TRUE "})
    assert not is_shared({}) and not is_shared({"homeport.dev/shared": "yes"}) and not is_shared({"shared": "true"})


def test_a_size_is_a_number_of_megabytes() -> None:
    assert read_size({}) == 1024 and read_size({"size": None}) == 1024 and read_size({"size": 1}) == 1
    for wrong in (0, -1, 1.5, "64", True, 10**30):
        with pytest.raises(Invalid, match=r"spec.size"):
            read_size({"size": wrong})
