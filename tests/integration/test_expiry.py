"""Jobs whose time is over go as if somebody had deleted them: the real loops on a real store, in a time of its own."""

import logging
from datetime import timedelta

import pytest

from homeport.core.clock import timestamp
from homeport.core.ids import Kind
from homeport.core.units import Outcome
from homeport.jobs.states import ExecutionStatus
from homeport.store.records import Resource
from homeport.testing.loops import Loops
from homeport.workloads.states import WorkloadStatus


async def job(loops: Loops, name: str) -> Resource:
    found = await loops.resource(Kind.JOB, name)
    assert found is not None
    return found


async def test_a_job_goes_when_its_ttl_is_over_and_not_before(still: Loops, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "homeport.reconcile.expiry")
    await still.ready_job("short", ttl="30m")
    await still.ready_job("stays")
    expiries = still.expiries()
    assert await expiries.expire() == 60.0
    still.clock.move(1800 - 5)
    assert await expiries.expire() == pytest.approx(5.0)
    assert not (await job(still, "short")).deleting
    still.clock.move(5)
    await expiries.expire()
    gone = await job(still, "short")
    assert gone.deleting and gone.updated_by == "homeport"
    events = await still.store.read(lambda tx: tx.events.of(gone.uid))
    assert [(event.reason, event.status) for event in events][-1] == ("Expired", "DELETING")
    assert "short" in caplog.text and "was over at" in caplog.text
    assert not (await job(still, "stays")).deleting


async def test_a_job_goes_at_the_moment_that_it_names(still: Loops) -> None:
    await still.ready_job("sums", expires=timestamp(still.clock.now() + timedelta(hours=1)))
    still.clock.move(3599)
    await still.expiries().expire()
    assert not (await job(still, "sums")).deleting
    still.clock.move(1)
    await still.expiries().expire()
    assert (await job(still, "sums")).deleting


async def test_an_expired_jobs_running_executions_are_cancelled_and_then_it_goes(still: Loops) -> None:
    async with still.running():
        await still.deploy(Kind.JOB, "sums", runtime={"ttl": 60})
        await still.has_status(Kind.JOB, "sums", WorkloadStatus.DEPLOYED)
        execution = await still.execute("sums", tasks=10)

        async def runs() -> bool:
            return (await still.execution(execution)).running == 4

        await still.until(runs)
        still.clock.move(60)

        async def cancelling() -> bool:
            return (await still.execution(execution)).status is ExecutionStatus.CANCELLING

        await still.until(cancelling)
        assert (await job(still, "sums")).deleting
        for spec in still.driver.living:
            still.driver.finish(spec.id, Outcome(exit_code=0))
        assert (await still.ended(execution)).status is ExecutionStatus.CANCELLED

        async def gone() -> bool:
            return await still.resource(Kind.JOB, "sums") is None

        await still.until(gone)


async def test_a_new_deployment_begins_the_ttl_anew(still: Loops) -> None:
    await still.deploy(Kind.JOB, "sums", runtime={"ttl": 60})
    still.clock.move(50)
    await still.deploy(Kind.JOB, "sums", runtime={"ttl": 60})
    still.clock.move(50)
    await still.expiries().expire()
    assert not (await job(still, "sums")).deleting
    still.clock.move(10)
    await still.expiries().expire()
    assert (await job(still, "sums")).deleting
