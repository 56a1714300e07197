"""Two revisions that share requests or executions, and the ways back: the real loops on a real store."""

import math
from typing import Any

import pytest

from homeport.app.activation import activate_replica
from homeport.app.context import Intent
from homeport.app.deployments import update_workload
from homeport.app.executions import ExecutionIntent, create_execution
from homeport.core.errors import Invalid
from homeport.core.ids import Kind, RevisionId
from homeport.core.units import Outcome
from homeport.store.records import Event, Resource, Revision
from homeport.testing.loops import ADMIN, HOME, Loops
from homeport.testing.scripted_driver import Behaviour, listens
from homeport.workloads.states import ReplicaState, RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split, Traffic

KINDS = pytest.mark.parametrize("kind", [Kind.AGENT, Kind.JOB])
DEPLOYED, FAILED = WorkloadStatus.DEPLOYED, WorkloadStatus.FAILED


@pytest.fixture(autouse=True)
def programs_listen(loops: Loops) -> None:
    loops.driver.decide = listens


async def deploy(loops: Loops, kind: Kind, source: str, status: WorkloadStatus = DEPLOYED, **revision: Any) -> Revision:
    made = await loops.deploy(kind, "one", source, revision=revision)
    await loops.has_status(kind, "one", status)
    return made


async def order(loops: Loops, kind: Kind, status: WorkloadStatus = DEPLOYED, **spec: Any) -> Resource:
    """An update without an archive, settled."""
    await update_workload(loops.context, ADMIN, kind, Intent(name="one", spec=spec), upload=False)
    return await loops.has_status(kind, "one", status)


async def traffic_of(loops: Loops, kind: Kind) -> Traffic:
    resource = await loops.resource(kind, "one")
    assert resource is not None
    return resource.traffic


async def events_of(loops: Loops, kind: Kind) -> list[Event]:
    resource = await loops.resource(kind, "one")
    assert resource is not None
    return await loops.store.read(lambda tx: tx.events.of(resource.uid))


def weights(loops: Loops) -> dict[RevisionId, int]:
    """What the gateway was told last of who has which share."""
    (route,) = loops.gateway.gateways[-1].routes
    return {one.revision: one.weight for one in route.revisions}


async def shares_are(loops: Loops, expected: dict[RevisionId, int]) -> None:
    async def look() -> bool:
        return weights(loops) == expected

    await loops.until(look)


@KINDS
async def test_a_share_makes_the_new_revision_the_canary_until_it_is_promoted(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        first = await deploy(loops, kind, "one")
        second = await deploy(loops, kind, "two", traffic=20)
        found = await traffic_of(loops, kind)
        assert (found.served, found.previous) == (Split(active=first.id, canary=second.id, percent=20), None)
        (told,) = [one for one in await events_of(loops, kind) if one.canary_revision and one.reason == "Serving"]
        assert (told.revision, told.canary_revision) == (first.id, second.id) and "20 % of the" in told.message
        if kind is Kind.AGENT:
            assert weights(loops) == {first.id: 80, second.id: 20}
            assert {one.revision_id for one in await loops.replicas()} == {first.id, second.id}
        built = len(loops.builder.built)
        await order(loops, kind, revision={"active": second.id})
        found = await traffic_of(loops, kind)
        assert (found.served, found.previous) == (Split(active=second.id), first.id)
        assert len(loops.builder.built) == built and len(await loops.revisions(kind, "one")) == 2


@KINDS
async def test_back_and_forward_to_any_kept_revision_without_a_build(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        revisions = [await deploy(loops, kind, source) for source in ("one", "two", "three")]
        built = len(loops.builder.built)
        for turn in (0, 2, 1, 0):
            await order(loops, kind, revision={"active": revisions[turn].id})
            assert (await traffic_of(loops, kind)).served == Split(active=revisions[turn].id)
            states = {one.id: one.state for one in await loops.revisions(kind, "one")}
            assert [one for one, state in states.items() if state is RevisionState.SERVING] == [revisions[turn].id]
        assert len(loops.builder.built) == built and len(await loops.revisions(kind, "one")) == 3


async def test_a_changed_share_alone_restarts_nothing_and_is_told_the_gateway(loops: Loops) -> None:
    async with loops.running():
        first = await deploy(loops, Kind.AGENT, "one")
        second = await deploy(loops, Kind.AGENT, "two", traffic=20)
        started = [spec.id for spec in loops.driver.started]
        for percent in (0, 100, 55):
            await order(loops, Kind.AGENT, revision={"canary": second.id, "canaryPercent": percent})
            await shares_are(loops, {first.id: 100 - percent, second.id: percent})
        assert [spec.id for spec in loops.driver.started] == started == [spec.id for spec in loops.driver.living]


async def test_what_only_changes_routing_or_scale_makes_no_revision_and_takes_effect(loops: Loops) -> None:
    async with loops.running():
        await deploy(loops, Kind.AGENT, "one")
        started = len(loops.driver.started)
        await order(loops, Kind.AGENT, public=True, runtime={"minScale": 2})

        async def two() -> bool:
            public = loops.gateway.gateways[-1].routes[0].public
            return public and [one.state for one in await loops.replicas()] == [ReplicaState.READY] * 2

        await loops.until(two)
        assert len(loops.driver.started) == started + 1
        assert len(await loops.revisions(Kind.AGENT, "one")) == 1
        assert (await events_of(loops, Kind.AGENT))[-1].reason == "Updated"


async def test_a_canary_that_cannot_start_leaves_the_old_revision_all_requests(loops: Loops) -> None:
    async with loops.running():
        first = await deploy(loops, Kind.AGENT, "one")
        loops.driver.decide = lambda spec: Behaviour(outcome=Outcome(exit_code=3))
        made = await loops.deploy(Kind.AGENT, "one", "two", revision={"traffic": 20})

        async def failed() -> bool:
            loops.clock.move(2)
            found = await loops.resource(Kind.AGENT, "one")
            return found is not None and found.status is FAILED

        await loops.until(failed)
        found = await traffic_of(loops, Kind.AGENT)
        assert (found.served, found.wanted, found.failed) == (Split(active=first.id), Split(active=first.id), made.id)
        said = next(one for one in await events_of(loops, Kind.AGENT) if one.reason == "StartFailed")
        assert f"Revision {first.id} serves on" in said.message and "exit code 3" in said.message
        started = len(loops.driver.started)
        for _ in range(5):
            loops.clock.move(100)
            loops.context.signals.rollouts.wake()
        loops.driver.decide = listens
        await order(loops, Kind.AGENT, revision={"active": first.id})
        assert len(loops.driver.started) == started, "what failed is not tried again by itself"


async def test_requests_of_a_canary_that_crashed_are_answered_by_the_active_revision(loops: Loops) -> None:
    async with loops.running():
        first = await deploy(loops, Kind.AGENT, "one")
        second = await deploy(loops, Kind.AGENT, "two", traffic=20)
        mine = {one.revision_id: one for one in await loops.replicas()}
        asked = (loops.context, HOME, "agent", "one", second.id)
        assert await activate_replica(*asked) == mine[second.id].endpoint
        loops.driver.decide = lambda spec: Behaviour()
        loops.driver.finish(mine[second.id].unit, Outcome(exit_code=1))
        assert await activate_replica(*asked) == mine[first.id].endpoint

        async def told() -> Event | None:
            return next((one for one in await events_of(loops, Kind.AGENT) if one.reason == "ReplicaEnded"), None)

        event = await loops.until(told)
        assert event.canary_revision == second.id and f"revision {first.id} answers" in event.message
        assert (await traffic_of(loops, Kind.AGENT)).served.percent == 20, "it is not aborted by itself"


async def test_an_execution_keeps_its_revision_and_the_canary_has_its_share_of_them(loops: Loops) -> None:
    async with loops.running():
        loops.driver.decide = lambda _: Behaviour(outcome=Outcome(exit_code=0))
        first = await deploy(loops, Kind.JOB, "one")
        second = await deploy(loops, Kind.JOB, "two", traffic=30)
        count, share = 200, 0.3
        ran = [await create_execution(loops.context, ADMIN, "one", ExecutionIntent()) for _ in range(count)]
        chosen = [one.revision_id for one in ran]
        assert {*chosen} == {first.id, second.id}
        assert abs(chosen.count(second.id) - count * share) <= 3 * math.sqrt(count * share * (1 - share))
        await order(loops, Kind.JOB, revision={"active": second.id})
        for one in ran[:20]:
            assert (await loops.ended(one.id)).revision_id == one.revision_id
        run = {spec.labels["execution"]: spec.labels["revision"] for spec in loops.driver.started}
        assert all(run[one.id] == one.revision_id for one in ran[:20])


@KINDS
async def test_five_that_can_serve_are_kept_and_what_traffic_names_always(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        first = await deploy(loops, kind, "one")
        second = await deploy(loops, kind, "two")
        await order(loops, kind, revision={"active": first.id})
        others = [await deploy(loops, kind, f"held-{number}", traffic=0) for number in range(6)]

        async def swept() -> bool:
            kept = {one.id for one in await loops.revisions(kind, "one")}
            return kept == {first.id, second.id, *(one.id for one in others[-5:])}

        await loops.until(swept)
        found = await traffic_of(loops, kind)
        assert (found.served.active, found.previous) == (first.id, second.id)


@KINDS
async def test_an_order_that_names_a_revision_that_is_not_kept_changes_nothing(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        first = await deploy(loops, kind, "one")
        before = await loops.resource(kind, "one")
        with pytest.raises(Invalid, match=rf"spec.revision.canary: must be a revision of this workload: {first.id}"):
            await order(loops, kind, revision={"canary": "rev-none", "canaryPercent": 10})
        assert await loops.resource(kind, "one") == before


@KINDS
async def test_of_two_deployments_at_once_the_later_serves_and_nothing_is_left_of_the_other(
    loops: Loops, kind: Kind
) -> None:
    async with loops.running():
        first = await deploy(loops, kind, "one")
        loops.builder.gate.clear()
        second, third = [await loops.deploy(kind, "one", source) for source in ("two", "three")]
        loops.builder.gate.set()
        await loops.has_status(kind, "one", DEPLOYED)

        async def settled() -> bool:
            states = {one.id: one.state for one in await loops.revisions(kind, "one")}
            return (states[second.id], states[third.id]) == (RevisionState.SUPERSEDED, RevisionState.SERVING)

        await loops.until(settled)
        assert (await traffic_of(loops, kind)).served == Split(active=third.id)
        assert {one.revision_id for one in await loops.replicas()} <= {third.id, first.id}
