"""Frozen containers on a real engine: through their control group and through the engine's pause, known to the next
driver, and ended by whoever ends them."""

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from homeport.core.errors import Conflict, DriverUnavailable
from homeport.core.ids import UnitId
from homeport.core.units import UnitSpec, UnitState, UnitStatus
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.freezing import Freezing
from homeport.node import processes
from homeport.testing.containers import opened_driver
from homeport.testing.driver_suite import RUN, TIDY, eventually, outcome_of, prints, unit_spec
from homeport.testing.engines import EngineProcess, engine_obstacle, running_engine

IMAGE = "docker.io/library/homeport-frozen:1"
OWNER = Owner(installation="frozen", region="docker")
opened = partial(opened_driver, OWNER)
container = partial(unit_spec, image=IMAGE)
FORKS = ("/bin/sh", "-c", "while :; do :; done & while :; do /bin/true; done")


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    with running_engine() as running:
        running.make_image(IMAGE)
        yield running


@pytest.fixture(params=["control group", "engine's pause"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By which the driver freezes: past the engine, or through it as with one on another machine."""
    if request.param == "engine's pause":
        monkeypatch.setattr(Freezing, "_group", lambda self, unit: None)
    return str(request.param)


async def started(driver: DockerDriver, argv: tuple[str, ...], **more: object) -> UnitSpec:
    """A unit that has printed that it is ready, where its program does."""
    spec = container(argv, **more)
    await driver.start(spec)
    if argv == TIDY:
        await prints(driver, spec.id, "ready")
    return spec


async def status_of(driver: DockerDriver, unit: UnitId) -> UnitStatus:
    status = await driver.status(unit)
    assert status is not None
    return status


async def becomes(driver: DockerDriver, unit: UnitId, *, frozen: bool) -> None:
    async def so() -> bool:
        return (await status_of(driver, unit)).frozen is frozen

    await eventually(so)


def docker(engine: EngineProcess, path: str, **params: str) -> httpx.Response:
    """What somebody else asks the engine for."""
    transport = httpx.HTTPTransport(uds=engine.url.removeprefix("unix://"))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=60) as client:
        return client.post(path, params=params)


def used(pid: int) -> dict[int, str]:
    """The processes of a container, each with what it has used of the processor."""
    found = {child: processes.stat_fields(child) for child in [pid, *processes.descendants(pid)]}
    return {child: f"{fields[11]} {fields[12]}" for child, fields in found.items() if fields}


async def test_neither_a_frozen_container_nor_what_it_forks_runs(engine: EngineProcess, folder: Path, way: str) -> None:
    async with opened(engine, folder) as driver:
        spec = await started(driver, FORKS)
        pid = (await status_of(driver, spec.id)).pid
        assert pid is not None
        await driver.freeze(spec.id)
        before = used(pid)
        subprocess.run(["/bin/sh", "-c", "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done"], check=True)  # 0.2 s
        assert used(pid) == before
        await driver.thaw(spec.id)

        async def works() -> bool:
            return used(pid) != before

        await eventually(works)


async def test_the_driver_that_comes_after_knows_what_is_frozen_and_thaws_and_ends_it(
    engine: EngineProcess, folder: Path, way: str
) -> None:
    async with opened(engine, folder) as driver:
        thawed, stopped = await started(driver, TIDY), await started(driver, TIDY)
        for spec in (thawed, stopped):
            await driver.freeze(spec.id)
    async with opened(engine, folder) as driver:
        assert [unit.frozen for unit in await driver.units()] == [True, True]
        await driver.thaw(thawed.id)
        await driver.signal(thawed.id, signal.SIGUSR1)
        await prints(driver, thawed.id, "heard")
        await driver.stop(stopped.id, 20)
        outcome = await outcome_of(driver, stopped.id)
        assert (outcome.exit_code, outcome.stopped) == (7, True)


async def test_a_frozen_unit_that_is_overdue_after_a_restart_is_ended(
    engine: EngineProcess, folder: Path, way: str
) -> None:
    async with opened(engine, folder) as driver:
        spec = await started(driver, RUN, timeout_s=1.0)
        await driver.freeze(spec.id)
    async with opened(engine, folder) as driver:
        assert (await outcome_of(driver, spec.id)).timed_out


async def test_a_container_that_somebody_pauses_and_unpauses_is_known_for_frozen_and_thawed(
    engine: EngineProcess, folder: Path
) -> None:
    async with opened(engine, folder) as driver:
        spec = await started(driver, TIDY)
        name = OWNER.container_name(spec.id)
        assert docker(engine, f"/containers/{name}/pause").is_success
        await becomes(driver, spec.id, frozen=True)
        assert docker(engine, f"/containers/{name}/unpause").is_success
        await becomes(driver, spec.id, frozen=False)
        assert docker(engine, f"/containers/{name}/pause").is_success
        await becomes(driver, spec.id, frozen=True)
        await driver.thaw(spec.id)
        assert docker(engine, f"/containers/{name}/unpause").status_code >= 400  # the engine knows that it runs
        await driver.stop(spec.id, 20)
        assert (await outcome_of(driver, spec.id)).exit_code == 7


@pytest.mark.parametrize("path", ["stop", "kill"])
async def test_a_frozen_container_that_somebody_ends_at_the_engine_ends(
    engine: EngineProcess, folder: Path, path: str
) -> None:
    async with opened(engine, folder) as driver:
        spec = await started(driver, RUN)
        await driver.freeze(spec.id)
        name = OWNER.container_name(spec.id)
        params = {"t": "1"} if path == "stop" else {"signal": "SIGKILL"}
        answer = await asyncio.to_thread(docker, engine, f"/containers/{name}/{path}", **params)
        assert answer.is_success, answer.text
        outcome = await outcome_of(driver, spec.id)
        assert outcome.signal in (signal.SIGTERM, signal.SIGKILL) and not outcome.stopped


async def test_frozen_containers_are_removed_like_others(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        spec = await started(driver, RUN)
        await driver.freeze(spec.id)
        await asyncio.to_thread(engine.remove_all)
        assert engine.names() == []
        assert not (await outcome_of(driver, spec.id)).succeeded


async def test_a_container_is_frozen_and_thawed_again_and_again(engine: EngineProcess, folder: Path, way: str) -> None:
    async with opened(engine, folder) as driver:
        spec = await started(driver, TIDY)
        for _ in range(10):
            await driver.freeze(spec.id)
            await driver.thaw(spec.id)
        await driver.signal(spec.id, signal.SIGUSR1)
        await prints(driver, spec.id, "heard")


async def test_what_has_ended_unseen_is_not_frozen(engine: EngineProcess, folder: Path, way: str) -> None:
    async with opened(engine, folder) as driver:
        spec = await started(driver, RUN)
        await asyncio.to_thread(docker, engine, f"/containers/{OWNER.container_name(spec.id)}/kill")
        with pytest.raises(Conflict):
            await driver.freeze(spec.id)


async def test_freezing_and_stopping_at_once_end_the_unit(engine: EngineProcess, folder: Path, way: str) -> None:
    async with opened(engine, folder) as driver:
        for _ in range(5):
            spec = await started(driver, RUN)
            frozen, _ = await asyncio.gather(driver.freeze(spec.id), driver.stop(spec.id, 20), return_exceptions=True)
            assert frozen is None or isinstance(frozen, Conflict)
            assert (await outcome_of(driver, spec.id)).stopped


async def test_a_frozen_unit_of_an_engine_that_dies_and_comes_back_has_an_end_or_is_thawed(
    engine: EngineProcess, folder: Path
) -> None:
    if not engine.own:
        pytest.skip("the engine is not the test's to kill")
    async with opened(engine, folder) as driver:
        spec = await started(driver, RUN)
        await driver.freeze(spec.id)
        engine.kill()

        async def away() -> bool:
            try:
                await driver.units()
            except DriverUnavailable:
                return True
            return False

        await eventually(away)
        with pytest.raises(DriverUnavailable):
            await driver.freeze(spec.id)
        await asyncio.to_thread(engine.start)

        async def ended() -> bool:
            with suppress(DriverUnavailable):
                return (await status_of(driver, spec.id)).state is UnitState.EXITED
            return False

        await eventually(ended)
        assert not (await outcome_of(driver, spec.id)).succeeded
