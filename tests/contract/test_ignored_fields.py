"""What of an order has no effect is kept, returned and told; what decides is acted on or refused."""

import json
from typing import Any

import pytest
from httpx import Response

from homeport.app.fields import FIELDS
from homeport.core import ids
from homeport.core.fields import IGNORED_HEADER, Fate
from homeport.core.ids import WRITTEN, Kind
from homeport.testing.control_plane import ControlPlane

UPLOAD = {"upload": "true"}
WORKLOADS = pytest.mark.parametrize("kind", ids.WORKLOADS)
SENT: dict[str, Any] = {
    "spec.triggers": [{"id": "nightly", "type": "cron", "configuration": {"schedule": "0 3 * * *"}}],
    "spec.network": {"vpc": "mine"},
    "spec.repository.type": "github",
    "spec.revision.stickySessionTtl": 60,
    "spec.runtime.configuration": {"a": 1},
    "spec.runtime.diskPercent": 50,
    "spec.runtime.ports": [{"target": 8080}],
    "spec.runtime.startupProbe": {"httpGet": {"path": "/"}},
    "spec.runtime.maxScale": 10,
    "spec.runtime.minScale": 1,
    "spec.runtime.metricPort": 9090,
    "spec.sandbox": True,
    "spec.maxTokens": {"granularity": "hour", "step": 1, "total": 100},
}
IDLE = [
    (kind, path)
    for kind in WRITTEN
    for path, field in FIELDS[kind].items()
    if field.fate is Fate.NO_EFFECT and not any(path.startswith(f"{above}") and path != above for above in SENT)
]


def spec_with(path: str, value: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    *objects, last = path.split(".")[1:]
    part = spec
    for key in objects:
        part = part.setdefault(key, {})
    part[last] = value
    return spec


async def create(plane: ControlPlane, kind: Kind, spec: dict[str, Any]) -> Response:
    if kind is Kind.POLICY:
        spec = {"type": "location", "locations": [{"type": "location", "name": "local"}], **spec}
    return await plane.api.post(f"/v0/{kind.plural}", params=UPLOAD, json={"metadata": {"name": "one"}, "spec": spec})


def told(answer: Response) -> list[str]:
    return [one["field"] for one in json.loads(answer.headers.get(IGNORED_HEADER, "[]"))]


def events(answer: Response) -> list[str]:
    return [one["message"] for one in answer.json().get("events", ()) if one["reason"] == "IgnoredField"]


@pytest.mark.parametrize(("kind", "path"), IDLE)
async def test_a_field_without_effect_is_kept_returned_and_told(plane: ControlPlane, kind: Kind, path: str) -> None:
    spec = spec_with(path, SENT.get(path, "something"))
    answer = await create(plane, kind, spec)
    assert answer.status_code == 200, answer.text
    assert told(answer) == [path]
    read = (await plane.api.get(f"/v0/{kind.plural}/one")).json()
    assert {key: read["spec"][key] for key in spec} == spec
    if kind is not Kind.POLICY:
        assert events(answer) == [f"{path} is kept and has no effect: {FIELDS[kind][path].effect}."]


@pytest.mark.parametrize("kind", WRITTEN)
async def test_an_order_of_which_everything_acts_warns_of_nothing(plane: ControlPlane, kind: Kind) -> None:
    spec: dict[str, Any] = {"enabled": True, "runtime": {"memory": 128}} if kind in ids.WORKLOADS else {}
    answer = await create(plane, kind, spec)
    assert answer.status_code == 200 and IGNORED_HEADER not in answer.headers and events(answer) == []


@pytest.mark.parametrize("kind", WRITTEN)
async def test_a_field_that_nobody_knows_is_kept_returned_and_told(plane: ControlPlane, kind: Kind) -> None:
    answer = await create(plane, kind, {"newer": {"x": [1]}})
    assert (answer.status_code, answer.json()["spec"]["newer"], told(answer)) == (200, {"x": [1]}, ["spec.newer"])


async def test_names_of_any_length_and_number_make_a_header_that_clients_can_read(plane: ControlPlane) -> None:
    spec = {f"é\n{n}" + "x" * 300: "a value that is nobody's business" for n in range(500)}
    answer = await create(plane, Kind.AGENT, spec)
    assert answer.status_code == 200
    assert len(answer.headers[IGNORED_HEADER]) <= 4096 and answer.headers[IGNORED_HEADER].isascii()
    assert len(events(answer)) == 20 and "481 more fields" in events(answer)[-1]
    assert "business" not in str(events(answer)) + answer.headers[IGNORED_HEADER]


@WORKLOADS
async def test_the_history_names_a_field_once_however_often_it_is_sent(plane: ControlPlane, kind: Kind) -> None:
    await create(plane, kind, {"newer": 1})
    for more in ({}, {"network": {"a": 1}}):
        body = {"metadata": {"name": "one"}, "spec": {"newer": 1, **more}}
        answer = await plane.api.put(f"/v0/{kind.plural}/one", params=UPLOAD, json=body)
        assert told(answer) == ["spec.newer", *(f"spec.{key}" for key in more)]
    assert [message.partition(" ")[0] for message in events(answer)] == ["spec.newer", "spec.network"]


VOLUME = {"name": "a", "mountPath": "/a", "type": "ephemeral"}
REFUSED: list[tuple[Kind, dict[str, Any], str]] = [
    *(
        (kind, {"volumes": [{**VOLUME, **wrong}]}, f"spec.volumes[0].{next(iter(wrong), 'sizeMb')}")
        for kind in ids.WORKLOADS
        for wrong in ({}, {"mountPath": "/proc/x", "sizeMb": 1}, {"sizeMb": 0}, {"readOnly": True, "sizeMb": 1})
    ),
    (Kind.JOB, {"region": "local", "volumes": [{"name": "a", "mountPath": "/a", "sizeMb": 1}]}, "spec.volumes[0].type"),
    (Kind.AGENT, {"volumes": [{"name": "a", "mountPath": "/a"}]}, "spec.region"),
    *((kind, {"runtime": {"image": "a"}}, "spec.runtime.image") for kind in ids.WORKLOADS),
    *((kind, {"integrationConnections": ["a"]}, "spec.integrationConnections[0]") for kind in ids.WORKLOADS),
    *(
        (kind, {"runtime": {"envs": [{"name": "A", "valueFrom": {"x": 1}}]}}, "spec.runtime.envs[0].valueFrom")
        for kind in ids.WORKLOADS
    ),
    *((kind, {"revision": {"traffic": 101}}, "spec.revision.traffic") for kind in ids.WORKLOADS),
    *((kind, {"revision": {"canaryPercent": -1}}, "spec.revision.canaryPercent") for kind in ids.WORKLOADS),
    *((kind, {"flavors": [{"name": "t4", "type": "gpu"}]}, "spec.flavors[0]") for kind in ids.WORKLOADS),
    (Kind.AGENT, {"runtime": {"command": ["python"]}}, "spec.runtime.command"),
    (Kind.AGENT, {"runtime": {"args": ["a"]}}, "spec.runtime.args"),
    (Kind.JOB, {"githubRunner": {"repositories": ["a/b"]}}, "spec.githubRunner"),
    (Kind.JOB, {"runtime": {"command": "python main.py"}}, "spec.runtime.command"),
    (Kind.JOB, {"runtime": {"args": [1]}}, "spec.runtime.args[0]"),
    (Kind.JOB, {"runtime": {"cpu": -1}}, "spec.runtime.cpu"),
    (Kind.JOB, {"runtime": {"expires": "soon"}}, "spec.runtime.expires"),
    (Kind.JOB, {"runtime": {"expires": "2020-01-01T00:00:00Z"}}, "spec.runtime.expires"),
    (Kind.JOB, {"runtime": {"ttl": "0s"}}, "spec.runtime.ttl"),
    (Kind.JOB, {"configurations": {"A": {"value": 3}}}, "spec.configurations.A.value"),
    (Kind.JOB, {"configurations": {"A=B": {"value": "3"}}}, "spec.configurations.A="),
]


@pytest.mark.parametrize(("kind", "spec", "field"), REFUSED)
async def test_what_decides_and_cannot_be_followed_is_refused_by_its_field(
    plane: ControlPlane, kind: Kind, spec: dict[str, Any], field: str
) -> None:
    answer = await create(plane, kind, spec)
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"].startswith(f"{field}: ")
    assert (await plane.api.get(f"/v0/{kind.plural}/one")).status_code == 404


@WORKLOADS
async def test_a_revision_that_cannot_serve_is_refused_at_an_update(plane: ControlPlane, kind: Kind) -> None:
    await create(plane, kind, {"revision": {"active": "rev-abc123", "canary": "other"}})
    address, kept = f"/v0/{kind.plural}/one", {"active": "rev-abc123", "canary": "other"}
    for revision, field in (({"active": "rev-zzz"}, "active"), ({**kept, "canary": "third"}, "canary")):
        body = {"metadata": {"name": "one"}, "spec": {"revision": revision}}
        answer = await plane.api.put(address, params=UPLOAD, json=body)
        assert answer.status_code == 400 and answer.json()["message"].startswith(f"spec.revision.{field}: ")
    read = (await plane.api.get(address)).json()
    back = await plane.api.put(address, params=UPLOAD, json=read)
    assert back.status_code == 200, "what was read can be sent back"
    assert told(back) == ["spec.revision.active", "spec.revision.canary"]


async def test_a_cpu_limit_that_the_machine_cannot_keep_is_told(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = next(iter(plane.context.drivers.values()))
    for method, expected in (("cgroup v1", []), ("none", ["spec.runtime.cpu"])):

        async def info(found: str = method) -> dict[str, Any]:
            return {"cpu_limit": found}

        monkeypatch.setattr(driver, "info", info)
        body = {"metadata": {"name": method.replace(" ", "-")}, "spec": {"runtime": {"cpu": 1}}}
        assert told(await plane.api.post("/v0/jobs", params=UPLOAD, json=body)) == expected
