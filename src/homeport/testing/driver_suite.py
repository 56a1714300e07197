"""The contract of `homeport.drivers.contract.Driver` as tests. Every driver runs them: subclass `DriverSuite` in a
test module and give it an async fixture `driver`.

The programs are real commands for drivers that run processes; `PROGRAMS` says of each how a scripted driver has to
behave, so that both are asked the same questions.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

from homeport.core.errors import Conflict
from homeport.core.ids import UnitId, new_id
from homeport.core.units import Outcome, UnitExit, UnitKind, UnitSpec, UnitState
from homeport.drivers.contract import Driver
from homeport.testing.scripted_driver import Behaviour

WAIT_S = 30.0  # a busy machine; nothing here takes a second on an idle one

SUCCEED = ("/bin/true",)
EXIT_3 = ("/bin/sh", "-c", "exit 3")
RUN = ("/bin/sleep", "600")
STUBBORN = ("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
PRINT = ("/bin/sh", "-c", "for n in 1 2 3 4 5; do echo line $n; done")

PROGRAMS: dict[tuple[str, ...], Behaviour] = {
    SUCCEED: Behaviour(outcome=Outcome(exit_code=0)),
    EXIT_3: Behaviour(outcome=Outcome(exit_code=3)),
    RUN: Behaviour(),
    STUBBORN: Behaviour(lines=("ready",), obeys=False),
    PRINT: Behaviour(lines=tuple(f"line {n}" for n in range(1, 6)), outcome=Outcome(exit_code=0)),
}


def unit_spec(argv: tuple[str, ...], **more: object) -> UnitSpec:
    """A task with a fresh id that runs `argv`; `more` replaces any field."""
    spec = UnitSpec(id=UnitId(new_id("unit")), kind=UnitKind.TASK, argv=argv, env={"PATH": "/usr/bin:/bin"})
    return replace(spec, **more)  # type: ignore[arg-type]


async def end_of(driver: Driver, unit: UnitId) -> UnitExit:
    """The end of `unit`, waited for with a bound."""
    async with asyncio.timeout(WAIT_S):
        async with aclosing(_generator(driver.exits(0))) as ends:
            async for end in ends:
                if end.status.id == unit:
                    return end
    raise AssertionError("the stream of ends is over")


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    """Return when `true` is; TimeoutError after a bound."""
    async with asyncio.timeout(WAIT_S):
        while not await true():  # noqa: ASYNC110 - the state is another process's
            await asyncio.sleep(0.02)


async def _generator(ends: AsyncIterator[UnitExit]) -> AsyncGenerator[UnitExit, None]:
    async for end in ends:
        yield end


class DriverSuite:
    """What every driver promises. `image`: in which its units run, for a driver of containers."""

    image: str | None = None

    def spec(self, argv: tuple[str, ...], **more: object) -> UnitSpec:
        return unit_spec(argv, **{"image": self.image, **more})

    async def test_a_started_unit_runs_and_is_listed(self, driver: Driver) -> None:
        spec = self.spec(RUN, labels={"agent": "a"})
        status = await driver.start(spec)
        assert (status.state, status.id, status.labels) == (UnitState.RUNNING, spec.id, {"agent": "a"})
        assert status.pid is not None and status.started_at is not None
        assert [unit.id for unit in await driver.units()] == [spec.id]
        assert await driver.status(spec.id) == status

    async def test_an_end_is_reported_with_its_exit_code(self, driver: Driver) -> None:
        for argv, code in ((SUCCEED, 0), (EXIT_3, 3)):
            spec = self.spec(argv)
            await driver.start(spec)
            end = await end_of(driver, spec.id)
            assert end.status.outcome is not None and end.status.outcome.exit_code == code
            assert end.status.state is UnitState.EXITED and end.status.pid is None
            assert await driver.status(spec.id) == end.status

    async def test_a_second_start_of_the_same_generation_starts_nothing(self, driver: Driver) -> None:
        spec = self.spec(RUN)
        first = await driver.start(spec)
        assert await driver.start(spec) == first
        await driver.stop(spec.id, 0)
        end = await end_of(driver, spec.id)
        assert await driver.start(spec) == end.status

    async def test_simultaneous_starts_of_one_id_make_one_unit(self, driver: Driver) -> None:
        spec = self.spec(RUN)
        await asyncio.gather(*(driver.start(spec) for _ in range(5)))
        assert len(await driver.units()) == 1

    async def test_an_older_generation_is_refused(self, driver: Driver) -> None:
        spec = self.spec(RUN, generation=2)
        await driver.start(spec)
        await _raises_conflict(driver.start(replace(spec, generation=1)))

    async def test_a_stopped_unit_ends_with_the_signal_and_says_that_it_was_stopped(self, driver: Driver) -> None:
        spec = self.spec(RUN)
        await driver.start(spec)
        await driver.stop(spec.id, 20)
        outcome = (await end_of(driver, spec.id)).status.outcome
        assert outcome is not None and outcome.stopped and outcome.signal == 15 and outcome.exit_code is None

    async def test_a_unit_that_ignores_the_request_is_killed_after_the_grace(self, driver: Driver) -> None:
        spec = self.spec(STUBBORN)
        await driver.start(spec)
        await eventually(lambda: _has_lines(driver, spec.id))
        await driver.stop(spec.id, 0.2)
        outcome = (await end_of(driver, spec.id)).status.outcome
        assert outcome is not None and outcome.stopped and outcome.signal == 9

    async def test_a_unit_that_runs_too_long_is_ended_as_timed_out(self, driver: Driver) -> None:
        spec = self.spec(RUN, timeout_s=0.3, stop_grace_s=5)
        await driver.start(spec)
        outcome = (await end_of(driver, spec.id)).status.outcome
        assert outcome is not None and outcome.timed_out and not outcome.stopped and not outcome.succeeded

    async def test_a_timeout_waits_for_nobody_who_ignores_it(self, driver: Driver) -> None:
        spec = self.spec(STUBBORN, timeout_s=0.3, stop_grace_s=3600)
        await driver.start(spec)
        outcome = (await end_of(driver, spec.id)).status.outcome
        assert outcome is not None and outcome.timed_out and outcome.signal == 9

    async def test_a_reader_beyond_all_ends_is_told_all_of_them(self, driver: Driver) -> None:
        spec = self.spec(SUCCEED)
        await driver.start(spec)
        await end_of(driver, spec.id)
        async with asyncio.timeout(WAIT_S), aclosing(_generator(driver.exits(10_000))) as ends:
            assert (await anext(ends)).status.id == spec.id

    async def test_numbers_of_ends_grow_and_a_reader_goes_on_where_it_stood(self, driver: Driver) -> None:
        specs = [self.spec(SUCCEED) for _ in range(3)]
        numbers = []
        for spec in specs:
            await driver.start(spec)
            numbers.append((await end_of(driver, spec.id)).seq)
        assert numbers == sorted(set(numbers))
        async with asyncio.timeout(WAIT_S), aclosing(_generator(driver.exits(numbers[0]))) as ends:
            assert (await anext(ends)).status.id == specs[1].id
            assert (await anext(ends)).status.id == specs[2].id

    async def test_output_is_read_in_pieces_by_offset_until_the_unit_is_forgotten(self, driver: Driver) -> None:
        spec = self.spec(PRINT)
        await driver.start(spec)
        await end_of(driver, spec.id)
        first = await driver.log(spec.id, 0, 2)
        rest = await driver.log(spec.id, first[-1].offset, 100)
        assert [line.text for line in first + rest] == [f"line {n}" for n in range(1, 6)]
        assert {line.stream for line in first + rest} == {"stdout"}
        assert await driver.log(spec.id, rest[-1].offset, 100) == []
        await driver.forget(spec.id)
        assert await driver.log(spec.id, 0, 100) == []

    async def test_output_is_read_backwards_by_time(self, driver: Driver) -> None:
        spec = self.spec(PRINT)
        await driver.start(spec)
        end = (await end_of(driver, spec.id)).status.ended_at
        assert end is not None
        newest = await driver.log_before(spec.id, end + timedelta(hours=1), 2)
        assert [line.text for line in newest] == ["line 4", "line 5"]
        rest = await driver.log_before(spec.id, newest[0].time, 100)
        assert [line.text for line in rest] == ["line 1", "line 2", "line 3"]
        assert rest + newest == await driver.log(spec.id, 0, 100)
        assert await driver.log_before(spec.id, rest[0].time, 100) == []
        assert await driver.log_before(UnitId("unit-none"), end, 100) == []

    async def test_a_unit_is_forgotten_only_after_its_end(self, driver: Driver) -> None:
        spec = self.spec(RUN)
        await driver.start(spec)
        await _raises_conflict(driver.forget(spec.id))
        await driver.stop(spec.id, 0)
        await end_of(driver, spec.id)
        await driver.forget(spec.id)
        await driver.forget(spec.id)
        assert await driver.status(spec.id) is None and await driver.units() == []

    async def test_an_unknown_unit_is_nothing_to_stop_and_listens_nowhere(self, driver: Driver) -> None:
        unknown = UnitId("unit-unknown")
        await driver.stop(unknown, 1)
        await driver.forget(unknown)
        assert await driver.status(unknown) is None
        assert await driver.listening(unknown) == frozenset()


async def _has_lines(driver: Driver, unit: UnitId) -> bool:
    return bool(await driver.log(unit, 0, 1))


async def _raises_conflict(work: Awaitable[object]) -> None:
    try:
        await work
    except Conflict:
        return
    raise AssertionError("Conflict was not raised")
