"""Metrics as the API answers them, where neither Envoy nor the edge runs: what the store holds, and who sees it."""

from prometheus_client.parser import text_string_to_metric_families

from homeport.core.ids import Kind
from homeport.identity.principals import Role
from homeport.testing.control_plane import AWAY, HOME, ControlPlane


async def samples(plane: ControlPlane, key: str | None = None) -> dict[str, list[tuple[dict[str, str], float]]]:
    send = plane.api.get if key is None else lambda path: plane.send(key, "GET", path)
    answer = await send("/v0/homeport/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for one in family.samples:
            found.setdefault(one.name, []).append((one.labels, one.value))
    return found


async def test_a_workspace_sees_itself_and_the_administrator_everything(plane: ControlPlane) -> None:
    await plane.make_job("sums")
    started = await plane.api.post("/v0/jobs/sums/executions", json={"tasks": [{}, {}]})
    assert started.status_code == 200, started.text
    home = await samples(plane, await plane.key(Role.MEMBER))
    assert home["homeport_tasks"] == [
        ({"workspace": HOME, "job": "sums", "state": "pending"}, 2.0),
        ({"workspace": HOME, "job": "sums", "state": "running"}, 0.0),
    ]
    assert ({"workspace": HOME, "kind": "job"}, 1.0) in home["homeport_resources"]
    assert {labels.get("workspace") for one in home.values() for labels, _ in one} == {HOME}
    away = await samples(plane, await plane.key(Role.ADMIN, workspace=AWAY))
    assert {labels.get("workspace") for one in away.values() for labels, _ in one} == {AWAY}
    everything = await samples(plane)
    assert everything["homeport_tasks"] == home["homeport_tasks"]
    assert {labels["workspace"] for labels, _ in everything["homeport_resources"]} == {HOME, AWAY}
    up = {labels["component"]: value for labels, value in everything["homeport_component_up"]}
    assert (up["server"], up["envoy"], up["edge"]) == (1, 0, 0)
    assert everything["homeport_store_commits_total"][0][1] > 0


async def test_what_happened_is_counted_once_from_the_first_question_on(plane: ControlPlane) -> None:
    async def events() -> float:
        plane.clock.move(2)  # an answer is kept for a second
        found = await samples(plane)
        return sum(value for _, value in found.get("homeport_events_total", ()))

    assert await events() == 0
    await plane.make_job("one")
    told = len(await plane.context.store.read(lambda tx: tx.events.of(tx.resources.get(HOME, Kind.JOB, "one").uid)))  # type: ignore[union-attr]
    assert told > 0 and await events() == told == await events()
    await plane.api.delete("/v0/jobs/one")
    assert await events() == told + 1
    uid = await plane.context.store.read(lambda tx: tx.resources.get(HOME, Kind.JOB, "one").uid)  # type: ignore[union-attr]
    await plane.context.store.write(lambda tx: tx.resources.delete(uid))
    await plane.make_job("two")  # its events take no number that a removed one had
    assert await events() == 2 * told + 1
