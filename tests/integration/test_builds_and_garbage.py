"""Archives, builds and what is removed afterwards: the real loops on a real store and a real data directory."""

import io
import os
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from homeport.app.context import Intent
from homeport.app.deployments import create_workload, delete_workload, update_workload
from homeport.app.uploads import receive_archive
from homeport.build.errors import BuildFailed
from homeport.core.errors import DriverUnavailable, Internal
from homeport.core.ids import Kind, UnitId
from homeport.core.units import Outcome, UnitKind
from homeport.reconcile.garbage import REPLICA_UNITS_KEPT, UPLOAD_WAIT_S, YOUNG_S
from homeport.store.contract import Transaction
from homeport.testing.driver_suite import unit_spec
from homeport.testing.factories import make_replica
from homeport.testing.loops import ADMIN, Loops, write_bundle
from homeport.testing.scripted_driver import listens
from homeport.workloads.states import RevisionState, WorkloadStatus

DAY_S = 24 * 3600


async def archive(text: str) -> AsyncIterator[bytes]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("main.py", text)
    yield content.getvalue()


async def test_an_archive_that_comes_after_a_newer_deployment_is_built_and_never_serves(loops: Loops) -> None:
    loops.driver.decide = listens
    context, intent = loops.context, Intent(name="echo")
    async with loops.running():
        first = await create_workload(context, ADMIN, Kind.AGENT, intent, upload=True)
        second = await update_workload(context, ADMIN, Kind.AGENT, intent, upload=True)
        await receive_archive(context, second.upload_token or "", archive("second"))
        await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
        await receive_archive(context, first.upload_token or "", archive("first"))

        async def settled() -> bool:
            states = [revision.state for revision in await loops.revisions(Kind.AGENT, "echo")]
            return states == [RevisionState.SERVING, RevisionState.SUPERSEDED]

        await loops.until(settled)
        await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
    assert len(loops.driver.started) == 1


async def test_what_the_spec_leaves_open_is_read_from_the_manifest_in_the_archive(loops: Loops) -> None:
    loops.driver.decide = listens
    loops.builder.manifest_toml = "[runtime]\nmemory = 300\n"
    async with loops.running():
        for name, spec in (("open", {}), ("said", {"runtime": {"memory": 400}})):
            intent = Intent(name=name, spec=spec)
            deployment = await create_workload(loops.context, ADMIN, Kind.AGENT, intent, upload=True)
            await receive_archive(loops.context, deployment.upload_token or "", archive(name))
            await loops.has_status(Kind.AGENT, name, WorkloadStatus.DEPLOYED)
    assert [spec.memory_mb for spec in loops.driver.started] == [300, 400]


async def test_an_upload_that_never_comes_fails_its_revision(still: Loops) -> None:
    async with still.running(still.rollouts()):
        await create_workload(still.context, ADMIN, Kind.AGENT, Intent(name="echo"), upload=True)
        await create_workload(still.context, ADMIN, Kind.JOB, Intent(name="sums"), upload=True)
        await still.garbage().collect()
        assert (await still.revisions(Kind.AGENT, "echo"))[0].state is RevisionState.UPLOADING
        still.clock.move(UPLOAD_WAIT_S + 1)
        await still.garbage().collect()
        for kind, name in ((Kind.AGENT, "echo"), (Kind.JOB, "sums")):
            resource = await still.has_status(kind, name, WorkloadStatus.FAILED)
            events = await still.store.read(lambda tx, uid=resource.uid: tx.events.of(uid))  # type: ignore[misc]
            assert (events[-1].reason, events[-1].status) == ("UploadAbandoned", WorkloadStatus.FAILED)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BuildFailed("Installing dependencies", "failed"), "Installing dependencies failed"),
        (Internal(detail="a secret of ours"), "The build ended with an internal error"),
        (OSError("no space left"), "The build ended with an internal error"),
    ],
    ids=["program", "internal", "unexpected"],
)
async def test_a_build_that_fails_in_whatever_way_fails_its_revision_once(
    loops: Loops, error: Exception, message: str
) -> None:
    loops.builder.refuses["bad"] = error
    async with loops.running():
        revision = await loops.deploy(Kind.JOB, "sums", "bad")
        job = await loops.has_status(Kind.JOB, "sums", WorkloadStatus.FAILED)
        events = await loops.store.read(lambda tx: tx.events.of(job.uid))
    assert (await loops.revisions(Kind.JOB, "sums"))[0].message.startswith(message)
    assert (events[-1].reason, "secret" in events[-1].message) == ("BuildFailed", False)
    assert loops.builder.built == [revision.id]


async def test_a_build_waits_for_its_driver_without_turning_in_a_circle(loops: Loops) -> None:
    loops.builder.refuses["one"] = DriverUnavailable()
    async with loops.running():
        await loops.deploy(Kind.JOB, "sums")

        async def tried() -> bool:
            return bool(loops.builder.built)

        await loops.until(tried)
        await loops.deploy(Kind.JOB, "other", "two")
        await loops.has_status(Kind.JOB, "other", WorkloadStatus.DEPLOYED)
        assert loops.builder.built.count(loops.builder.built[0]) <= 4, "only when another build began or ended"
        loops.builder.refuses.clear()
        loops.context.signals.builds.wake()
        await loops.has_status(Kind.JOB, "sums", WorkloadStatus.DEPLOYED)


async def test_the_builds_of_a_deleted_workload_end_and_leave_their_places(loops: Loops) -> None:
    loops.builder.gate.clear()
    async with loops.running():
        for name in ("one", "two"):
            await loops.deploy(Kind.AGENT, name)

        async def building() -> bool:
            return len(loops.builder.built) == 2

        await loops.until(building)
        for name in ("one", "two"):
            await delete_workload(loops.context, ADMIN, Kind.AGENT, name)

        async def gone() -> bool:
            return [await loops.resource(Kind.AGENT, name) for name in ("one", "two")] == [None, None]

        await loops.until(gone)
        third = await loops.deploy(Kind.JOB, "three")

        async def begun() -> bool:
            return third.id in loops.builder.built

        await loops.until(begun)


async def test_a_job_keeps_the_revision_and_the_bundle_that_an_execution_runs(still: Loops) -> None:
    async with still.running(still.builds(), still.rollouts(), still.runner()):
        first = await still.deploy(Kind.JOB, "sums", "source-0", runtime={"maxRetries": 1})
        await still.has_status(Kind.JOB, "sums", WorkloadStatus.DEPLOYED)
        execution = await still.execute()
        for number in range(1, 8):
            await still.deploy(Kind.JOB, "sums", f"source-{number}", runtime={"maxRetries": 1})
            await still.has_status(Kind.JOB, "sums", WorkloadStatus.DEPLOYED)
        still.clock.move(DAY_S)
        await still.garbage().collect()
        kept = await still.revisions(Kind.JOB, "sums")
        assert kept[-1].id == first.id and len(kept) == 6
        still.driver.finish(still.driver.living[0].id, Outcome(exit_code=1))

        async def waits() -> bool:
            still.clock.move(1)
            return len(still.driver.started) == 2

        await still.until(waits)
        assert still.driver.started[1].bundle == still.driver.started[0].bundle
        still.driver.finish(still.driver.living[0].id, Outcome(exit_code=0))
        await still.ended(execution)

        async def collected() -> bool:
            return len(await still.revisions(Kind.JOB, "sums")) == 5

        await still.until(collected)
        still.clock.move((still.context.configuration.images.unused_days + 1) * DAY_S)
        await still.garbage().collect()
    named = {revision.bundle_digest for revision in await still.revisions(Kind.JOB, "sums")}
    assert {path.name for path in still.context.data.bundles.iterdir()} == named


async def test_a_file_that_is_young_is_kept_and_an_old_one_that_nothing_names_goes(still: Loops) -> None:
    data = still.context.data
    write_bundle(data, "unnamed", "one")
    (data.sources / "unnamed.zip").touch()
    await still.garbage().collect()
    assert (data.bundles / "unnamed").exists() and (data.sources / "unnamed.zip").exists()
    still.clock.move(YOUNG_S + 1)
    await still.garbage().collect()
    assert not (data.bundles / "unnamed").exists() and not (data.sources / "unnamed.zip").exists()


async def test_a_bundle_found_by_a_build_is_young_again(still: Loops) -> None:
    async with still.running(still.builds(), still.rollouts()):
        await still.deploy(Kind.JOB, "sums", "one")
        await still.has_status(Kind.JOB, "sums", WorkloadStatus.DEPLOYED)
        bundle = next(still.context.data.bundles.iterdir())
        os.utime(bundle, (0, 0))
        still.builder.gate.clear()
        await still.deploy(Kind.JOB, "other", "one")

        async def building() -> bool:
            return len(still.builder.built) == 2

        await still.until(building)
        assert bundle.stat().st_mtime > 0
        still.builder.gate.set()


async def test_a_unit_that_no_row_stands_for_is_stopped_and_later_forgotten(loops: Loops) -> None:
    await loops.ready_job()
    async with loops.running(loops.runner()):
        execution = await loops.execute()

        async def started() -> bool:
            return bool(loops.driver.started)

        await loops.until(started)
        known = loops.driver.started[0].id
        for kind in (UnitKind.REPLICA, UnitKind.TASK):
            await loops.driver.start(unit_spec(("x",), id=UnitId(f"orphan-{kind}"), kind=kind))
        garbage = loops.garbage()
        await garbage.collect()
        assert [spec.id for spec in loops.driver.living] == [known]
        await garbage.collect()
        assert [unit.id for unit in await loops.driver.units()] == [known]
        assert not (await loops.execution(execution)).status.terminal


async def test_a_replica_that_starts_while_garbage_is_collected_is_left_alone(loops: Loops) -> None:
    loops.driver.decide = listens
    async with loops.running(loops.builds(), loops.rollouts()):
        revision = await loops.deploy(Kind.AGENT, "echo")
        await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
    read = loops.store.read
    late: list[UnitId] = []

    async def read_then_start(work: Callable[[Transaction], Any]) -> Any:
        """After every look at the rows there is one more replica."""
        answer = await read(work)
        replica = make_replica(revision, ordinal=len(late) + 1)
        await loops.store.write(lambda tx: tx.replicas.insert(replica))
        await loops.driver.start(unit_spec(("x",), id=replica.unit, kind=UnitKind.REPLICA, env={"PORT": "1"}))
        late.append(replica.unit)
        return answer

    loops.store.read = read_then_start  # type: ignore[method-assign]
    await loops.garbage().collect()
    assert late and {*late} <= {spec.id for spec in loops.driver.living}


async def test_the_output_of_ended_replicas_is_kept_for_the_newest_ones_only(loops: Loops) -> None:
    loops.driver.decide = listens
    async with loops.running(loops.builds(), loops.rollouts()):
        revision = await loops.deploy(Kind.AGENT, "echo")
        await loops.has_status(Kind.AGENT, "echo", WorkloadStatus.DEPLOYED)
    labels = {"resource": revision.resource_uid}
    for number in range(REPLICA_UNITS_KEPT + 3):
        unit = UnitId(f"old-{number}")
        await loops.driver.start(unit_spec(("x",), id=unit, kind=UnitKind.REPLICA, labels=labels, env={"PORT": "1"}))
        loops.driver.finish(unit, Outcome(exit_code=1))
    await loops.garbage().collect()
    left = [unit.id for unit in await loops.driver.units() if unit.id.startswith("old-")]
    assert left == [f"old-{number}" for number in range(3, REPLICA_UNITS_KEPT + 3)]
