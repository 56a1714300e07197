"""Agents from their deployment to their end: the real loops on a real store, programs and gateway scripted."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from homeport.app.context import Intent
from homeport.app.deployments import create_workload, delete_workload, update_workload
from homeport.core.errors import StoreUnavailable
from homeport.core.ids import Kind, UnitId
from homeport.core.limits import DRAIN_TIMEOUT_S
from homeport.core.units import Outcome, UnitKind, UnitSpec, UnitStatus
from homeport.dataplane.routes import Gateway
from homeport.store.records import Replica, Resource, Revision
from homeport.testing.factories import make_key
from homeport.testing.loops import ADMIN, Loops
from homeport.testing.scripted_driver import Behaviour, ScriptedDriver, listens
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus

DEPLOYED = WorkloadStatus.DEPLOYED
FAILED = WorkloadStatus.FAILED
CRASH = Outcome(exit_code=1)


@pytest.fixture(autouse=True)
def programs_listen(request: pytest.FixtureRequest) -> None:
    for name in ("loops", "fast", "still"):
        if name in request.fixturenames:
            request.getfixturevalue(name).driver.decide = listens


async def deployed(loops: Loops, name: str = "echo", source: str = "one", **spec: Any) -> Revision:
    revision = await loops.deploy(Kind.AGENT, name, source, **spec)
    await loops.has_status(Kind.AGENT, name, DEPLOYED)
    return revision


async def state_of(loops: Loops, revision: Revision) -> RevisionState | None:
    found = await loops.store.read(lambda tx: tx.revisions.get(revision.id))
    return found.state if found else None


async def replicas_are(loops: Loops, check: Callable[[list[Replica]], bool]) -> list[Replica]:
    """All replicas, once `check` is true of them."""

    async def look() -> list[Replica] | None:
        replicas = await loops.replicas()
        return replicas if check(replicas) else None

    return await loops.until(look)


async def pass_over(loops: Loops, name: str) -> None:
    """Return once the rollouts have looked at everything again: another agent has come."""
    decide = loops.driver.decide
    loops.driver.decide = listens
    await deployed(loops, name)
    loops.driver.decide = decide


async def change(loops: Loops, name: str, **spec: Any) -> Resource:
    """An update without an archive."""
    done = await update_workload(loops.context, ADMIN, Kind.AGENT, Intent(name=name, spec=spec), upload=False)
    return done.resource


def running(loops: Loops, name: str) -> list[UnitSpec]:
    return [spec for spec in loops.driver.living if spec.labels["name"] == name]


async def test_a_deployed_agent_has_its_replicas_and_the_gateway_sends_requests_to_them(loops: Loops) -> None:
    async with loops.running():
        revision = await deployed(loops, runtime={"minScale": 3})
        replicas = await loops.replicas()
    assert await state_of(loops, revision) is RevisionState.SERVING
    assert [replica.ordinal for replica in sorted(replicas, key=lambda one: one.ordinal)] == [0, 1, 2]
    assert loops.gateway.ports_of("echo") == {replica.port: False for replica in replicas}
    assert {spec.env["PORT"] for spec in loops.driver.living} == {str(replica.port) for replica in replicas}


async def test_the_old_replicas_answer_until_the_new_revision_is_ready_and_then_finish_their_requests(
    loops: Loops,
) -> None:
    async with loops.running():
        await deployed(loops)
        old = (await loops.replicas())[0]
        published = len(loops.gateway.gateways)
        loops.driver.decide = lambda _: Behaviour()
        await loops.deploy(Kind.AGENT, "echo", "two")
        replicas = await replicas_are(loops, lambda found: len(found) == len(loops.driver.living) == 2)
        new = next(one for one in replicas if one.id != old.id)
        assert new.state is ReplicaState.STARTING
        assert loops.gateway.ports_of("echo") == {old.port: False}
        loops.driver.listen(new.unit, new.port)
        await loops.has_status(Kind.AGENT, "echo", DEPLOYED)
        assert loops.gateway.ports_of("echo") == {old.port: True, new.port: False}
        assert len(running(loops, "echo")) == 2, "the old one has requests to finish"
        loops.gateway.idle_ports.add(old.port)
        await replicas_are(loops, lambda found: [one.id for one in found] == [new.id])
    assert [spec.id for spec in running(loops, "echo")] == [new.unit]
    for gateway in loops.gateway.gateways[published - 1 :]:
        endpoints = [at for route in gateway.routes for share in route.revisions for at in share.endpoints]
        assert any(not at.draining for at in endpoints), "for a moment nothing served"


async def test_a_revision_that_cannot_start_fails_with_the_reason_and_the_old_one_goes_on(fast: Loops) -> None:
    async with fast.running():
        first = await deployed(fast)
        old = (await fast.replicas())[0]
        said = ("first", "second", "third", "no such table: users")
        fast.driver.decide = lambda _: Behaviour(outcome=Outcome(exit_code=7), lines=said)
        second = await fast.deploy(Kind.AGENT, "echo", "two")
        await fast.has_status(Kind.AGENT, "echo", FAILED)
        await replicas_are(fast, lambda found: [one.id for one in found] == [old.id])
        assert fast.gateway.ports_of("echo") == {old.port: False}
    assert await state_of(fast, first) is RevisionState.SERVING
    assert await state_of(fast, second) is RevisionState.FAILED
    failed = (await fast.revisions(Kind.AGENT, "echo"))[0]
    words = "exit code 7. Its last lines: second ⏎ third ⏎ no such table: users"
    assert failed.message == f"its program ended 3 times before it could serve: {words}"
    events = await fast.store.read(lambda tx: tx.events.of(failed.resource_uid))
    assert f"Replica 0 ended: {words}" in [event.message for event in events]
    assert sum(spec.labels["revision"] == second.id for spec in fast.driver.started) == 3


async def test_a_last_line_that_says_how_it_ended_is_said_once(fast: Loops) -> None:
    async with fast.running():
        await deployed(fast)
        outcome = Outcome(exit_code=127, reason="exit code 127: no such command")
        fast.driver.decide = lambda _: Behaviour(outcome=outcome, lines=("no such command",))
        await fast.deploy(Kind.AGENT, "echo", "two")
        await fast.has_status(Kind.AGENT, "echo", FAILED)
    failed = (await fast.revisions(Kind.AGENT, "echo"))[0]
    assert failed.message == "its program ended 3 times before it could serve: exit code 127: no such command"


async def test_a_program_that_ends_as_it_is_seen_to_listen_is_not_ready(
    still: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = still.driver.listening

    async def look_and_end(unit: UnitId) -> frozenset[int]:
        ports = await listening(unit)
        still.driver.finish(unit, CRASH)
        return ports

    monkeypatch.setattr(still.driver, "listening", look_and_end)
    async with still.running():
        await still.deploy(Kind.AGENT, "echo", "one")
        (waiting,) = await replicas_are(still, lambda found: [one.state for one in found] == [ReplicaState.BACKOFF])
    assert waiting.ready_at is None and waiting.message == "exit code 1"


async def test_a_replica_that_cannot_be_started_at_all_says_why(fast: Loops) -> None:
    async with fast.running():
        first = await deployed(fast)
        bundle = fast.context.data.bundles / ((await fast.revisions(Kind.AGENT, "echo"))[0].bundle_digest or "")
        (bundle / "bundle.json").unlink()
        await change(fast, "echo")
        await fast.has_status(Kind.AGENT, "echo", FAILED)
    assert "could not start: An internal error" in (await fast.revisions(Kind.AGENT, "echo"))[0].message
    assert await state_of(fast, first) is RevisionState.SERVING


async def test_a_crashed_replica_is_restarted_after_waits_that_grow(still: Loops) -> None:
    async with still.running():
        await deployed(still)
        for crash, wait_s in enumerate([1, 2, 4], start=1):
            replica = (await replicas_are(still, lambda found: found[0].state is ReplicaState.READY))[0]
            still.driver.finish(replica.unit, CRASH)
            waiting = await replicas_are(still, lambda found: found[0].state is ReplicaState.BACKOFF)
            assert (waiting[0].restarts, waiting[0].message) == (crash, "exit code 1")
            still.clock.move(wait_s - 0.01)
            await pass_over(still, f"marker-{crash}")
            assert running(still, "echo") == [] and still.gateway.ports_of("echo") == {}
            still.clock.move(0.02)
            ready = await replicas_are(still, lambda found: found[0].state is ReplicaState.READY)
            assert ready[0].unit != replica.unit


async def test_routes_that_could_not_be_published_are_published_with_the_next_pass(still: Loops) -> None:
    async with still.running():
        await deployed(still)
        publish, failures = still.gateway.publish, []

        def fail_once(gateway: Gateway) -> int:
            still.gateway.publish = publish  # type: ignore[method-assign]
            failures.append(gateway)
            raise StoreUnavailable

        still.gateway.publish = fail_once  # type: ignore[method-assign]
        still.driver.finish((await still.replicas())[0].unit, CRASH)

        async def out() -> bool:
            return still.gateway.ports_of("echo") == {}

        await still.until(out)
    assert len(failures) == 1


async def test_a_restarted_server_keeps_the_replicas_that_live(loops: Loops) -> None:
    async with loops.running():
        await deployed(loops)
    before, units = await loops.replicas(), len(loops.driver.started)
    loops.gateway.gateways.clear()
    async with loops.running():
        await pass_over(loops, "marker")
    assert await loops.replicas() == [*before, *(await loops.replicas())[1:]]
    assert len(loops.driver.started) == units + 1
    first = loops.gateway.gateways[0]
    assert [at.port for share in first.routes[0].revisions for at in share.endpoints] == [before[0].port]


@pytest.mark.parametrize("forgotten", [False, True], ids=["stopped-with-the-system", "unknown"])
async def test_a_restarted_server_brings_back_replicas_whose_units_are_gone(still: Loops, forgotten: bool) -> None:
    async with still.running():
        await deployed(still, runtime={"minScale": 2})
    for spec in still.driver.living:
        await still.driver.stop(spec.id, 1)
        if forgotten:
            await still.driver.forget(spec.id)
    async with still.running():
        replicas = await replicas_are(
            still, lambda found: len(still.driver.living) == 2 and all(one.state is ReplicaState.READY for one in found)
        )
    assert [replica.restarts for replica in replicas] == [0, 0], "it was not their programs' fault"
    assert {spec.id for spec in still.driver.living} == {replica.unit for replica in replicas}


async def test_one_agent_that_cannot_be_restored_keeps_none_of_the_others_from_it(still: Loops) -> None:
    async with still.running():
        await deployed(still, "broken", "bad")
        await deployed(still, "fine", "good")
    broken = (await still.revisions(Kind.AGENT, "broken"))[0]
    (still.context.data.bundles / (broken.bundle_digest or "") / "bundle.json").unlink()
    for spec in still.driver.living:
        await still.driver.stop(spec.id, 1)
    async with still.running():

        async def back() -> bool:
            return len(running(still, "fine")) == 1 and len(still.gateway.ports_of("fine")) == 1

        await still.until(back)


async def test_a_start_that_the_driver_could_not_take_is_made_later_and_not_held_against_the_program(
    loops: Loops,
) -> None:
    starting = asyncio.Event()

    class Busy(ScriptedDriver):
        async def start(self, spec: UnitSpec) -> UnitStatus:
            self.available = starting.is_set()
            starting.set()
            try:
                return await super().start(spec)
            finally:
                self.available = True

    busy = Busy(listens)
    async with loops.running(loops.rollouts(driver=busy), loops.builds()):
        await deployed(loops)
    replica = (await loops.replicas())[0]
    assert (replica.restarts, replica.unit) == (0, busy.started[0].id)


async def test_a_disabled_agent_is_taken_away_and_an_enabled_one_comes_back(loops: Loops) -> None:
    async with loops.running():
        await deployed(loops)
        old = (await loops.replicas())[0]
        loops.gateway.idle_ports.add(old.port)
        await change(loops, "echo", enabled=False)
        await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEACTIVATED)
        assert loops.driver.living == [] and await loops.replicas() == []
        assert [route.name for route in loops.gateway.gateways[-1].routes] == []
        await change(loops, "echo", enabled=True)
        await loops.has_status(Kind.AGENT, "echo", DEPLOYED)
        assert loops.gateway.ports_of("echo")


async def test_deleting_an_agent_removes_its_rows_its_account_and_its_keys(loops: Loops) -> None:
    async with loops.running():
        await deployed(loops)
        agent = await loops.resource(Kind.AGENT, "echo")
        assert agent is not None
        account = await loops.store.read(lambda tx: tx.identities.account_of(agent.uid))
        assert account is not None
        key = make_key("key-of-it", client_id=account.client_id)
        await loops.store.write(lambda tx: tx.identities.add_key(key))
        loops.gateway.idle_ports.add((await loops.replicas())[0].port)
        await delete_workload(loops.context, ADMIN, Kind.AGENT, "echo")

        async def gone() -> bool:
            return await loops.resource(Kind.AGENT, "echo") is None and key.jti in loops.gateway.gateways[-1].revoked

        await loops.until(gone)

        async def forgotten() -> bool:
            return await loops.driver.units() == []

        await loops.until(forgotten)
    assert await loops.replicas() == []
    assert await loops.store.read(lambda tx: tx.revisions.of(agent.uid)) == []
    assert await loops.store.read(lambda tx: tx.identities.account(account.client_id)) is None
    assert loops.gateway.gateways[-1].routes == ()


async def test_draining_replicas_of_several_agents_end_as_soon_as_each_is_idle(still: Loops) -> None:
    names = ["a", "b", "c"]
    async with still.running():
        for name in names:
            await deployed(still, name)
        old = await still.replicas()
        for name in names:
            await deployed(still, name, "two")
        assert len(await still.replicas()) == 6
        still.gateway.idle_ports |= {replica.port for replica in old}
        await replicas_are(still, lambda found: len(found) == 3)
    assert {replica.id for replica in old}.isdisjoint(replica.id for replica in await still.replicas())


async def test_a_replica_whose_requests_do_not_end_is_stopped_after_the_drain_time(still: Loops) -> None:
    async with still.running():
        await deployed(still)
        old = (await still.replicas())[0]
        await deployed(still, source="two")
        await replicas_are(still, lambda found: any(one.state is ReplicaState.DRAINING for one in found))
        still.clock.move(DRAIN_TIMEOUT_S - 0.1)
        await pass_over(still, "marker")
        assert old.id in {replica.id for replica in await still.replicas()}
        still.clock.move(0.2)
        await replicas_are(still, lambda found: old.id not in {one.id for one in found})


async def test_an_idle_replica_is_kept_until_the_gateway_has_taken_it_out(still: Loops) -> None:
    async with still.running():
        await deployed(still)
        old = (await still.replicas())[0]
        still.gateway.idle_ports.add(old.port)
        still.gateway.takes = False
        await deployed(still, source="two")
        await replicas_are(still, lambda found: any(one.state is ReplicaState.DRAINING for one in found))
        await pass_over(still, "marker")
        assert old.id in {replica.id for replica in await still.replicas()}
        still.gateway.takes = True
        await replicas_are(still, lambda found: old.id not in {one.id for one in found})


async def test_an_agent_whose_start_takes_long_delays_no_other(loops: Loops) -> None:
    gate = asyncio.Event()

    class Slow(ScriptedDriver):
        async def start(self, spec: UnitSpec) -> UnitStatus:
            if spec.labels["name"] == "slow":
                await gate.wait()
            return await super().start(spec)

    async with loops.running(loops.rollouts(driver=Slow(listens)), loops.builds()):
        await loops.deploy(Kind.AGENT, "slow")
        await replicas_are(loops, lambda found: len(found) == 1)
        await deployed(loops, "quick")
        await deployed(loops, "another")
        gate.set()
        await loops.has_status(Kind.AGENT, "slow", DEPLOYED)


async def test_of_updates_in_quick_succession_the_newest_serves(loops: Loops) -> None:
    async with loops.running():
        await deployed(loops)
        loops.builder.gate.clear()
        loops.gateway.idle_ports |= {replica.port for replica in await loops.replicas()}
        for source in ("two", "three", "four"):
            await loops.deploy(Kind.AGENT, "echo", source)
        loops.builder.gate.set()
        await loops.has_status(Kind.AGENT, "echo", DEPLOYED)

        async def settled() -> bool:
            for replica in await loops.replicas():
                loops.gateway.idle_ports |= {replica.port} if replica.state is ReplicaState.DRAINING else set()
            states = [revision.state for revision in await loops.revisions(Kind.AGENT, "echo")]
            alone = len(await loops.replicas()) == 1
            return alone and states == [RevisionState.SERVING, *[RevisionState.SUPERSEDED] * 3]

        await loops.until(settled)
    newest = (await loops.revisions(Kind.AGENT, "echo"))[0]
    assert newest.source_digest == "four"
    assert [spec.labels["revision"] for spec in running(loops, "echo")] == [newest.id]


async def test_a_driver_that_is_away_changes_nothing_and_the_rollout_goes_on_when_it_is_back(loops: Loops) -> None:
    async with loops.running():
        await deployed(loops)
        before = await loops.replicas()
        loops.driver.available = False
        second = await loops.deploy(Kind.AGENT, "echo", "two")

        async def built() -> bool:
            return await state_of(loops, second) is RevisionState.BUILT

        await loops.until(built)
        await loops.deploy(Kind.JOB, "sums")  # needs no driver
        await loops.has_status(Kind.JOB, "sums", DEPLOYED)
        assert await loops.replicas() == before
        loops.driver.available = True
        await loops.has_status(Kind.AGENT, "echo", DEPLOYED)
    assert await state_of(loops, second) is RevisionState.SERVING


async def test_an_agent_is_created_without_anything_that_runs_until_its_archive_is_there(loops: Loops) -> None:
    async with loops.running():
        waiting = await create_workload(loops.context, ADMIN, Kind.AGENT, Intent(name="echo"), upload=True)
        await pass_over(loops, "marker")
        found = await loops.resource(Kind.AGENT, "echo")
        assert found is not None and found.status is WorkloadStatus.UPLOADING
        assert running(loops, "echo") == []
        await loops.receive(waiting.resource)
        await loops.has_status(Kind.AGENT, "echo", DEPLOYED)
    assert {spec.kind for spec in loops.driver.started} == {UnitKind.REPLICA}
