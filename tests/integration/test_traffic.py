"""Revisions that are built without serving, and what makes them serve: the real loops on a real store."""

from typing import Any

import pytest

from homeport.api.views import revisions_of
from homeport.app.context import Intent
from homeport.app.deployments import create_workload, update_workload
from homeport.app.executions import ExecutionIntent, create_execution
from homeport.core.errors import Conflict
from homeport.core.ids import Kind
from homeport.store.records import Revision
from homeport.testing.loops import ADMIN, Loops
from homeport.testing.scripted_driver import listens
from homeport.workloads.states import RevisionState, WorkloadStatus

KINDS = pytest.mark.parametrize("kind", [Kind.AGENT, Kind.JOB])
HELD = {"traffic": 0}


@pytest.fixture(autouse=True)
def programs_listen(loops: Loops) -> None:
    loops.driver.decide = listens


async def deploy(loops: Loops, kind: Kind, source: str, status: WorkloadStatus, **revision: Any) -> Revision:
    made = await loops.deploy(kind, "one", source, revision=revision)
    await loops.has_status(kind, "one", status)
    return made


async def shown(loops: Loops, kind: Kind) -> list[tuple[str, bool, int, bool]]:
    """The revisions as a client sees them, newest first: status, active, share, whether active before."""
    resource = await loops.resource(kind, "one")
    assert resource is not None
    found = revisions_of(resource.traffic, await loops.revisions(kind, "one"))
    return [(one.status, one.active, one.traffic_percent, one.previous_active) for one in found]


async def events(loops: Loops, kind: Kind) -> list[tuple[str, str]]:
    resource = await loops.resource(kind, "one")
    assert resource is not None
    return [(one.reason, one.message) for one in await loops.store.read(lambda tx: tx.events.of(resource.uid))]


@KINDS
async def test_traffic_0_builds_and_keeps_a_revision_while_the_old_one_serves(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        first = await deploy(loops, kind, "one", WorkloadStatus.DEPLOYED)
        second = await deploy(loops, kind, "two", WorkloadStatus.DEPLOYED, **HELD)
        assert await shown(loops, kind) == [("built", False, 0, False), ("serving", True, 100, False)]
        told = dict(await events(loops, kind))
        assert "does not serve: traffic is 0" in told["NotServed"] and "kept" in told["Built"]
        if kind is Kind.JOB:
            execution = await create_execution(loops.context, ADMIN, "one", ExecutionIntent())
            assert execution.revision_id == first.id
        else:
            assert {one.revision_id for one in await loops.replicas()} == {first.id}
    assert second.id != first.id


@KINDS
async def test_a_first_revision_with_traffic_0_is_built_and_nothing_serves(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        await deploy(loops, kind, "one", WorkloadStatus.BUILT, **HELD)
        assert await shown(loops, kind) == [("built", False, 0, False)]
        assert await loops.replicas() == []
        if kind is Kind.JOB:
            with pytest.raises(Conflict, match="nothing to run"):
                await create_execution(loops.context, ADMIN, "one", ExecutionIntent())


@KINDS
async def test_a_kept_revision_serves_once_it_is_the_active_one(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        await deploy(loops, kind, "one", WorkloadStatus.DEPLOYED)
        kept = await deploy(loops, kind, "two", WorkloadStatus.DEPLOYED, **HELD)
        spec = {"revision": {"active": kept.id}}
        await update_workload(loops.context, ADMIN, kind, Intent(name="one", spec=spec), upload=False)

        async def serves() -> bool:
            found = await loops.store.read(lambda tx: tx.revisions.get(kept.id))
            return found is not None and found.state is RevisionState.SERVING

        await loops.until(serves)
        await loops.has_status(kind, "one", WorkloadStatus.DEPLOYED)
        assert await shown(loops, kind) == [("serving", True, 100, False), ("superseded", False, 0, True)]
        assert "TrafficAsked" in dict(await events(loops, kind))


@KINDS
async def test_after_a_kept_revision_the_next_one_is_kept_until_it_is_asked_to_serve(loops: Loops, kind: Kind) -> None:
    async with loops.running():
        await deploy(loops, kind, "one", WorkloadStatus.DEPLOYED)
        await deploy(loops, kind, "two", WorkloadStatus.DEPLOYED, **HELD)
        await deploy(loops, kind, "three", WorkloadStatus.DEPLOYED)
        assert [share for _, _, share, _ in await shown(loops, kind)] == [0, 0, 100]
        await deploy(loops, kind, "four", WorkloadStatus.DEPLOYED, traffic=100)
        assert [share for _, _, share, _ in await shown(loops, kind)] == [100, 0, 0, 0]


@KINDS
async def test_what_was_on_its_way_does_not_serve_after_another_was_made_the_active_one(
    loops: Loops, kind: Kind
) -> None:
    async with loops.running():
        first = await deploy(loops, kind, "one", WorkloadStatus.DEPLOYED)
        loops.builder.gate.clear()
        await loops.deploy(kind, "one", "two")
        spec = {"revision": {"active": first.id}}
        await update_workload(loops.context, ADMIN, kind, Intent(name="one", spec=spec), upload=False)
        loops.builder.gate.set()
        await loops.has_status(kind, "one", WorkloadStatus.DEPLOYED)
        assert await shown(loops, kind) == [("superseded", False, 0, False), ("serving", True, 100, False)]


async def test_the_minimum_of_replicas_is_read_from_the_manifest_of_the_bundle(loops: Loops) -> None:
    loops.builder.manifest_toml = "[runtime]\nminScale = 2\n"
    async with loops.running():
        await create_workload(loops.context, ADMIN, Kind.AGENT, Intent(name="one"), upload=True)
        resource = await loops.resource(Kind.AGENT, "one")
        assert resource is not None
        await loops.receive(resource)
        await loops.has_status(Kind.AGENT, "one", WorkloadStatus.DEPLOYED)
        assert len(await loops.replicas()) == 2
