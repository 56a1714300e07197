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

from homeport.core.errors import Conflict, DriverUnavailable, HomeportError, Invalid, NotFound
from homeport.core.ids import UnitId, new_id
from homeport.core.units import Outcome, UnitExit, UnitKind, UnitSpec, UnitState, VolumeMount
from homeport.drivers.contract import Driver
from homeport.testing.scripted_driver import Behaviour

WAIT_S = 30.0  # a busy machine; nothing here takes a second on an idle one
LINES = 100_000  # at most, of a unit of tests

SUCCEED = ("/bin/true",)
EXIT_3 = ("/bin/sh", "-c", "exit 3")
RUN = ("/bin/sleep", "600")
STUBBORN = ("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
TIDY = (
    "/bin/sh",
    "-c",
    "trap 'echo asked; exit 7' TERM; trap 'echo heard' USR1; echo ready; while :; do sleep 0.05; done",
)
SHORT = ("/bin/sh", "-c", "sleep 1.5; exit 5")
PRINT = ("/bin/sh", "-c", "for n in 1 2 3 4 5; do echo line $n; done")

PROGRAMS: dict[tuple[str, ...], Behaviour] = {
    SUCCEED: Behaviour(outcome=Outcome(exit_code=0)),
    EXIT_3: Behaviour(outcome=Outcome(exit_code=3)),
    RUN: Behaviour(),
    STUBBORN: Behaviour(lines=("ready",), obeys=False),
    TIDY: Behaviour(lines=("ready",), ends=Outcome(exit_code=7), handles={10: "heard"}),
    SHORT: Behaviour(outcome=Outcome(exit_code=5), after_s=1.5),
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


async def outcome_of(driver: Driver, unit: UnitId) -> Outcome:
    """How `unit` ended, waited for with a bound."""
    outcome = (await end_of(driver, unit)).status.outcome
    assert outcome is not None
    return outcome


async def prints(driver: Driver, unit: UnitId, text: str) -> None:
    """Return when `unit` has printed the line `text`; TimeoutError after a bound."""

    async def printed() -> bool:
        return text in [line.text for line in await driver.log(unit, 0, LINES)]

    await eventually(printed)


async def answers(driver: Driver, wanted: bool = True) -> bool:
    """Whether the driver answers, or, with `wanted` False, whether it says that it cannot."""
    try:
        await driver.units()
    except DriverUnavailable:
        return not wanted
    return wanted


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
        await _raises(Conflict, driver.start(replace(spec, generation=1)))

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
        await _raises(Conflict, driver.forget(spec.id))
        await driver.stop(spec.id, 0)
        await end_of(driver, spec.id)
        await driver.forget(spec.id)
        await driver.forget(spec.id)
        assert await driver.status(spec.id) is None and await driver.units() == []

    async def test_a_frozen_unit_stands_still_until_it_is_thawed(self, driver: Driver) -> None:
        frozen, other = self.spec(SHORT), self.spec(SHORT)
        await driver.start(frozen)
        await driver.freeze(frozen.id)
        await driver.freeze(frozen.id)
        await driver.start(other)
        assert (await outcome_of(driver, other.id)).exit_code == 5  # in which time the first would have ended, too
        status = await driver.status(frozen.id)
        assert status is not None and status.frozen and status.state is UnitState.RUNNING and status.pid is not None
        assert [unit.frozen for unit in await driver.units()] == [True, False]
        await driver.thaw(frozen.id)
        await driver.thaw(frozen.id)
        outcome = await outcome_of(driver, frozen.id)
        assert (outcome.exit_code, outcome.stopped) == (5, False)
        assert [unit.frozen for unit in await driver.units()] == [False, False]

    async def test_a_thawed_unit_may_be_frozen_again(self, driver: Driver) -> None:
        spec = self.spec(RUN)
        await driver.start(spec)
        for _ in range(3):
            await driver.freeze(spec.id)
            await driver.thaw(spec.id)
            assert [unit.frozen for unit in await driver.units()] == [False]

    async def test_a_frozen_unit_that_is_stopped_hears_the_request(self, driver: Driver) -> None:
        spec = self.spec(TIDY)
        await driver.start(spec)
        await eventually(lambda: _has_lines(driver, spec.id))
        await driver.freeze(spec.id)
        await driver.stop(spec.id, 20)
        outcome = await outcome_of(driver, spec.id)
        assert (outcome.exit_code, outcome.signal, outcome.stopped) == (7, None, True)

    async def test_a_frozen_unit_that_ignores_the_request_is_killed_after_the_grace(self, driver: Driver) -> None:
        spec = self.spec(STUBBORN)
        await driver.start(spec)
        await eventually(lambda: _has_lines(driver, spec.id))
        await driver.freeze(spec.id)
        await driver.stop(spec.id, 0.2)
        outcome = await outcome_of(driver, spec.id)
        assert outcome.stopped and outcome.signal == 9

    async def test_the_timeout_of_a_frozen_unit_ends_it(self, driver: Driver) -> None:
        spec = self.spec(RUN, timeout_s=1.0)
        await driver.start(spec)
        await driver.freeze(spec.id)
        outcome = await outcome_of(driver, spec.id)
        assert outcome.timed_out and outcome.signal == 15

    async def test_a_unit_that_is_being_ended_is_not_frozen(self, driver: Driver) -> None:
        spec = self.spec(STUBBORN)
        await driver.start(spec)
        await eventually(lambda: _has_lines(driver, spec.id))
        await driver.stop(spec.id, 1.0)
        await _raises(Conflict, driver.freeze(spec.id))
        assert (await outcome_of(driver, spec.id)).signal == 9

    async def test_a_signal_reaches_the_main_process(self, driver: Driver) -> None:
        spec = self.spec(TIDY)
        await driver.start(spec)
        await eventually(lambda: _has_lines(driver, spec.id))
        await driver.signal(spec.id, 10)
        await eventually(lambda: _has_lines(driver, spec.id, 2))
        assert [line.text for line in await driver.log(spec.id, 0, 10)] == ["ready", "heard"]
        await driver.signal(spec.id, 9)
        outcome = await outcome_of(driver, spec.id)
        assert (outcome.signal, outcome.stopped) == (9, False)

    async def test_a_frozen_unit_is_not_signalled(self, driver: Driver) -> None:
        spec = self.spec(RUN)
        await driver.start(spec)
        await driver.freeze(spec.id)
        await _raises(Conflict, driver.signal(spec.id, 15))
        await driver.thaw(spec.id)
        await driver.signal(spec.id, 15)
        assert (await outcome_of(driver, spec.id)).signal == 15

    async def test_only_a_unit_that_runs_is_frozen_thawed_and_signalled(self, driver: Driver) -> None:
        unknown, ended = UnitId("unit-unknown"), self.spec(SUCCEED)
        await driver.start(ended)
        await end_of(driver, ended.id)
        for unit, error in ((unknown, NotFound), (ended.id, Conflict)):
            for call in (driver.freeze(unit), driver.thaw(unit), driver.signal(unit, 10)):
                await _raises(error, call)

    async def test_what_is_no_signal_for_units_is_refused(self, driver: Driver) -> None:
        spec = self.spec(RUN)
        await driver.start(spec)
        for number in (0, -9, 65, 19):
            await _raises(Invalid, driver.signal(spec.id, number))

    async def test_what_freezes_is_told(self, driver: Driver) -> None:
        assert (await driver.info())["freezer"] not in ("", "none")

    async def test_an_unknown_unit_is_nothing_to_stop_and_listens_nowhere(self, driver: Driver) -> None:
        unknown = UnitId("unit-unknown")
        await driver.stop(unknown, 1)
        await driver.forget(unknown)
        assert await driver.status(unknown) is None
        assert await driver.listening(unknown) == frozenset()

    async def test_a_unit_that_must_be_alone_with_a_volume_starts_once_the_other_has_ended(
        self, driver: Driver
    ) -> None:
        volume = VolumeMount(path="/data", name="data", size_mb=64, volume=new_id("volume"), alone=True)
        first = self.spec(RUN, volumes=(volume,))
        await driver.start(first)
        for second in (volume, replace(volume, alone=False, writable=False)):
            await _raises(DriverUnavailable, driver.start(self.spec(RUN, volumes=(second,))))
        await _raises(Conflict, driver.discard_volume(volume.volume or ""))
        neighbour = self.spec(RUN, volumes=(replace(volume, volume=new_id("volume")),))
        await driver.start(neighbour)
        await driver.stop(first.id, 0)
        await end_of(driver, first.id)
        third = self.spec(RUN, volumes=(volume,))
        await driver.start(third)
        for unit in (neighbour, third):
            await driver.stop(unit.id, 0)
            await end_of(driver, unit.id)
            await driver.forget(unit.id)
        for _ in range(2):
            await driver.discard_volume(volume.volume or "")
        await driver.discard_volume(neighbour.volumes[0].volume or "")
        await driver.discard_volume(new_id("volume"))

    async def test_units_that_share_a_volume_or_only_read_it_live_together(self, driver: Driver) -> None:
        for mount in (
            VolumeMount(path="/data", name="data", size_mb=64, volume=new_id("volume")),
            VolumeMount(path="/data", name="data", size_mb=64, volume=new_id("volume"), writable=False),
        ):
            units = [self.spec(RUN, volumes=(mount,)) for _ in range(2)]
            for unit in units:
                await driver.start(unit)
            for unit in units:
                await driver.stop(unit.id, 0)
                await end_of(driver, unit.id)
                await driver.forget(unit.id)
            await driver.discard_volume(mount.volume or "")


async def _has_lines(driver: Driver, unit: UnitId, count: int = 1) -> bool:
    return len(await driver.log(unit, 0, count)) == count


async def _raises(error: type[HomeportError], work: Awaitable[object]) -> None:
    try:
        await work
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


KEEP = ("/bin/sh", "-c", "cat /data/note /scratch/note 2>/dev/null; echo kept > /data/note; echo gone > /scratch/note")
PEEK = ("/bin/sh", "-c", "cat /data/note; echo x > /data/other || echo refused")


class VolumeSuite:
    """What drivers of real programs promise of volumes besides. `image`: see `DriverSuite`."""

    image: str | None = None

    async def test_what_is_written_to_a_volume_outlives_units_and_what_is_their_own_does_not(
        self, driver: Driver
    ) -> None:
        data = VolumeMount(path="/data", name="data", size_mb=64, volume=new_id("volume"), alone=True)
        scratch = VolumeMount(path="/scratch", name="scratch", size_mb=64)
        for printed in ([], ["kept"]):
            unit = unit_spec(KEEP, image=self.image, volumes=(data, scratch))
            await driver.start(unit)
            assert (await outcome_of(driver, unit.id)).exit_code == 0
            assert [line.text for line in await driver.log(unit.id, 0, LINES)] == printed
            await driver.forget(unit.id)
        await driver.discard_volume(data.volume or "")
        unit = unit_spec(KEEP, image=self.image, volumes=(data, scratch))
        await driver.start(unit)
        await end_of(driver, unit.id)
        assert await driver.log(unit.id, 0, LINES) == [], "what was thrown away comes back"
        await driver.forget(unit.id)
        await driver.discard_volume(data.volume or "")

    async def test_a_volume_that_is_to_be_read_cannot_be_written(self, driver: Driver) -> None:
        data = VolumeMount(path="/data", name="data", size_mb=64, volume=new_id("volume"))
        own = VolumeMount(path="/scratch", name="scratch", size_mb=64)
        for program, mount in ((KEEP, data), (PEEK, replace(data, writable=False))):
            unit = unit_spec(program, image=self.image, volumes=(mount, own))
            await driver.start(unit)
            await end_of(driver, unit.id)
            if program is PEEK:
                texts = [line.text for line in await driver.log(unit.id, 0, LINES)]
                assert "kept" in texts and "refused" in texts
            await driver.forget(unit.id)
        await driver.discard_volume(data.volume or "")
