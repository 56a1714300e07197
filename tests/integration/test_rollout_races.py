"""Two orders about one workload that cross each other: one clean end state each, and nothing left of the other."""

import asyncio

import pytest

from homeport.app.context import Intent
from homeport.app.deployments import create_workload, delete_workload, update_workload
from homeport.app.policies import create_policy, update_policy
from homeport.app.rollouts import Order, Verb, order_rollout
from homeport.core.errors import Conflict, Denied
from homeport.core.ids import Kind
from homeport.testing.loops import ADMIN, Loops
from homeport.testing.scripted_driver import listens
from homeport.workloads.states import RevisionState, WorkloadStatus
from homeport.workloads.traffic import Split

KINDS = pytest.mark.parametrize("kind", [Kind.AGENT, Kind.JOB])
DEPLOYED = WorkloadStatus.DEPLOYED


@pytest.fixture(autouse=True)
def programs_listen(loops: Loops) -> None:
    loops.driver.decide = listens


def location(name: str) -> Intent:
    return Intent(name="place", spec={"type": "location", "locations": [{"type": "continent", "name": name}]})


async def building(loops: Loops) -> None:
    async def began() -> bool:
        return len(loops.builder.built) > 1

    await loops.until(began)


@KINDS
async def test_what_is_deleted_while_it_is_built_goes_with_its_build(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        await loops.deploy(kind, "one", "one")
        await loops.has_status(kind, "one", DEPLOYED)
        loops.builder.gate.clear()
        await loops.deploy(kind, "one", "two")
        await building(loops)
        await delete_workload(loops.context, ADMIN, kind, "one")
        with pytest.raises(Conflict, match="is being deleted"):
            await loops.deploy(kind, "one", "three")

        async def gone() -> bool:
            for replica in await loops.replicas():
                loops.gateway.idle_ports.add(replica.port)
            return await loops.resource(kind, "one") is None

        await loops.until(gone)
        loops.builder.gate.set()
        assert await loops.replicas() == [] and loops.driver.living == []
        assert await loops.store.read(lambda tx: tx.revisions.in_states([*RevisionState])) == []
        await loops.deploy(kind, "one", "four")
        await loops.has_status(kind, "one", DEPLOYED)


@KINDS
async def test_a_policy_that_changes_during_a_rollout_acts_from_the_next_order_on(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        await create_policy(loops.context, ADMIN, location("EU"))
        policies = {"policies": ["place"]}
        first = await loops.deploy(kind, "one", "one", **policies)
        await loops.has_status(kind, "one", DEPLOYED)
        loops.builder.gate.clear()
        second = await loops.deploy(kind, "one", "two", **policies)
        await building(loops)
        await update_policy(loops.context, ADMIN, location("AS"))
        loops.builder.gate.set()
        deployed = await loops.has_status(kind, "one", DEPLOYED)
        assert deployed.traffic.served == Split(active=second.id), "it was accepted under the policy of then"
        for ask in (
            lambda: loops.deploy(kind, "one", "three", **policies),
            lambda: order_rollout(loops.context, ADMIN, kind, "one", Order(verb=Verb.UNDO)),
        ):
            with pytest.raises(Denied, match="place"):
                await ask()
        after = await loops.resource(kind, "one")
        assert after is not None and (after.traffic, after.generation) == (deployed.traffic, deployed.generation)
        assert [one.id for one in await loops.revisions(kind, "one")] == [second.id, first.id]
        await update_policy(loops.context, ADMIN, location("EU"))
        await order_rollout(loops.context, ADMIN, kind, "one", Order(verb=Verb.UNDO))
        assert (await loops.has_status(kind, "one", DEPLOYED)).traffic.served == Split(active=first.id)


async def test_a_policy_of_the_order_that_goes_back_counts_too(loops: Loops) -> None:
    async with loops.running():
        await create_policy(loops.context, ADMIN, location("AS"))
        first = await loops.deploy(Kind.AGENT, "one", "one")
        await loops.has_status(Kind.AGENT, "one", DEPLOYED)
        await loops.deploy(Kind.AGENT, "one", "two")
        await loops.has_status(Kind.AGENT, "one", DEPLOYED)
        intent = Intent(name="one", spec={"policies": ["place"], "revision": {"active": first.id}})
        with pytest.raises(Denied, match="place"):
            await update_workload(loops.context, ADMIN, Kind.AGENT, intent, upload=False)


@KINDS
async def test_orders_at_the_same_moment_are_taken_one_after_the_other(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        first = await loops.deploy(kind, "one", "one")
        await loops.has_status(kind, "one", DEPLOYED)
        second = await loops.deploy(kind, "one", "two", revision={"traffic": 0})
        await loops.has_status(kind, "one", DEPLOYED)
        orders = [Order(verb=Verb.PROMOTE, revision=one, percent=share) for one in (second.id,) for share in (5, 100)]
        asked = [order_rollout(loops.context, ADMIN, kind, "one", order) for order in orders]
        deployments = [loops.deploy(kind, "one", f"new-{number}", revision={"traffic": 100}) for number in range(3)]
        await asyncio.gather(*asked, *deployments, return_exceptions=True)
        settled = await loops.has_status(kind, "one", DEPLOYED)
        assert not settled.traffic.under_way and settled.traffic.failed is None

        async def clean() -> bool:
            for replica in await loops.replicas():
                if replica.revision_id not in settled.traffic.served.revisions:
                    loops.gateway.idle_ports.add(replica.port)
            serving = {one.id for one in await loops.revisions(kind, "one") if one.state is RevisionState.SERVING}
            run = {one.revision_id for one in await loops.replicas()}
            at_rest = (RevisionState.SERVING, RevisionState.SUPERSEDED, RevisionState.HELD)
            settled_all = all(one.state in at_rest for one in await loops.revisions(kind, "one"))
            served = {*settled.traffic.served.revisions}
            return serving == served and settled_all and (kind is Kind.JOB or run == served)

        await loops.until(clean)
        assert first.id in {one.id for one in await loops.revisions(kind, "one")}
        assert len(loops.driver.living) == len(await loops.replicas())


async def test_a_first_deployment_that_names_revisions_is_told_that_there_are_none(loops: Loops) -> None:
    spec = {"revision": {"active": "rev-none", "canary": "rev-other", "canaryPercent": 10}}
    made = await create_workload(loops.context, ADMIN, Kind.AGENT, Intent(name="one", spec=spec), upload=True)
    told = [event.message for event in made.events if event.reason == "IgnoredField"]
    assert len(told) == 3 and all("a new workload has no earlier revision" in message for message in told)
