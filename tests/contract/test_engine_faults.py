"""What the docker driver makes of engines that are too old, hang, answer nonsense, refuse or go away: small servers
that speak as much of the API as it takes. Real engines are in `tests/e2e/test_docker_life.py`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from homeport.core.errors import DriverMissing, DriverUnavailable
from homeport.core.ids import UnitId
from homeport.core.units import UnitKind, UnitSpec
from homeport.drivers.docker import engine as engines
from homeport.drivers.docker import watch
from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.testing.driver_suite import eventually

OWNER = Owner(installation="faults", region="docker")
WAIT_S = 20.0


class SmallEngine:
    """Serves an engine without containers at `url`. What it says to a path, tests change in `says`; without
    `goes_on` it answers nothing; `asked` are the paths that it was asked for."""

    def __init__(self, socket: Path) -> None:
        self.url = f"unix://{socket}"
        self.begins_events = True
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.says: dict[str, Any] = {"/version": {"ApiVersion": "1.41", "Version": "x"}, "/containers/json": []}
        self.says |= {"/networks": [], "/volumes": {"Volumes": None}, "/images/x:1/json": {"Config": None}}
        self.asked: list[str] = []
        self._socket = socket
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        self.asked.append(path)
        await self.goes_on.wait()
        if path == "/events" and path not in self.says:
            response = web.StreamResponse()
            if self.begins_events:
                await response.prepare(request)
            await asyncio.sleep(3600)
            return response
        said = self.says.get(path, (404, {"message": f"no {path}"}))
        status, body = said if isinstance(said, tuple) else (200, said)
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallEngine]:
    engine = SmallEngine(tmp_path / "engine.sock")
    await engine.start()
    yield engine
    await engine.stop()


@asynccontextmanager
async def opened(small: SmallEngine, tmp_path: Path) -> AsyncIterator[DockerDriver]:
    driver = DockerDriver(Engine(EngineAddress(url=small.url)), OWNER, tmp_path / "driver")
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


async def answers(driver: DockerDriver, wanted: bool = True) -> bool:
    try:
        await driver.units()
    except DriverUnavailable:
        return not wanted
    return wanted


def unit(**more: Any) -> UnitSpec:
    return UnitSpec(id=UnitId("u1"), kind=UnitKind.TASK, argv=("x",), env={}, image="x:1", **more)


async def test_an_engine_that_is_too_old_is_refused_with_both_versions_and_used_once_it_is_new(
    small: SmallEngine, tmp_path: Path
) -> None:
    small.says["/version"] = {"ApiVersion": "1.39", "Version": "18.09"}
    async with opened(small, tmp_path) as driver:
        for call in (driver.units(), driver.info(), driver.start(unit())):
            with pytest.raises(DriverMissing, match=r"too old: it serves version 1\.39 .* needs 1\.40 or later"):
                await call
        assert set(small.asked) == {"/version"}
        small.says["/version"] = {"ApiVersion": "1.40", "Version": "19.03"}
        await eventually(lambda: answers(driver))


@pytest.mark.parametrize(
    "nonsense",
    [
        {"/version": "<html>It works!</html>"},
        {"/version": []},
        {"/version": {"ApiVersion": "new"}},
        {"/containers/json": {"a": 1}},
        {"/containers/json": [{}]},
        {"/containers/json": (500, {"message": "no space left on device"})},
        {"/networks": "{"},
        {"/events": "{\n"},
        {"/events": (500, "")},
    ],
    ids=str,
)
async def test_what_is_no_engine_or_a_broken_one_is_unavailable_and_used_once_it_is_well(
    small: SmallEngine, tmp_path: Path, nonsense: dict[str, Any]
) -> None:
    well = dict(small.says)
    small.says |= nonsense
    async with opened(small, tmp_path) as driver:
        if "/events" not in nonsense:  # else it answers for a moment
            with pytest.raises(DriverUnavailable):
                await driver.units()
        small.says = well
        await eventually(lambda: answers(driver))


async def test_an_engine_that_hangs_is_away_within_the_bound_and_nobody_waits_for_its_answers(
    small: SmallEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PULSE_S", 0.05)
    monkeypatch.setattr(engines, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(engines, "CALL_TIMEOUT_S", 3600.0)
    async with opened(small, tmp_path) as driver:
        assert await driver.units() == []
        small.goes_on.clear()
        under_way = asyncio.ensure_future(driver.start(unit()))
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(DriverUnavailable, match="does not answer"):
                await under_way
            with pytest.raises(DriverUnavailable, match="does not answer"):
                await driver.units()
        small.goes_on.set()
        await eventually(lambda: answers(driver))


async def test_an_engine_that_is_away_for_long_is_missing_and_one_that_restarts_is_not(
    small: SmallEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(small, tmp_path) as driver:
        await small.stop()

        async def told() -> bool:
            with pytest.raises(DriverUnavailable) as refused:
                await driver.status(UnitId("u1"))
            assert not isinstance(refused.value, DriverMissing)
            return "does not answer: nobody listens there" in refused.value.message

        await eventually(lambda: answers(driver, False))
        await eventually(told)
        monkeypatch.setattr(watch, "MISSED_S", 0.0)
        with pytest.raises(DriverMissing):
            await driver.units()
        await small.start()
        await eventually(lambda: answers(driver))
    await small.stop()
    async with opened(small, tmp_path) as driver:
        with pytest.raises(DriverMissing, match="nobody listens there"):
            await driver.units()


async def test_an_engine_that_answers_for_events_with_the_first_one_only_is_used_before_that(
    small: SmallEngine, tmp_path: Path
) -> None:
    """As Podman does."""
    small.begins_events = False
    async with opened(small, tmp_path) as driver:
        assert await driver.units() == []


async def test_a_refused_start_leaves_no_unit_and_what_the_engine_says_is_told(
    small: SmallEngine, tmp_path: Path
) -> None:
    small.says["/containers/create"] = (500, {"message": "write /var/lib: no space left on device"})
    async with opened(small, tmp_path) as driver:
        with pytest.raises(DriverUnavailable, match="no space left on device"):
            await driver.start(unit())
        assert await driver.units() == []


async def test_an_engine_that_fails_to_pause_and_to_say_how_the_container_is_is_unavailable(
    small: SmallEngine, tmp_path: Path
) -> None:
    broken = (500, {"message": "no space left on device"})
    small.says |= {"/containers/create": {"Id": "c1"}, "/containers/c1/start": "", "/containers/c1/kill": ""}
    small.says["/containers/c1/json"] = {"Id": "c1", "State": {"Status": "running"}}
    async with opened(small, tmp_path) as driver:
        await driver.start(unit())
        small.says |= {"/containers/c1/pause": broken, "/containers/c1/json": broken}
        with pytest.raises(DriverUnavailable, match="no space left on device"):
            await driver.freeze(UnitId("u1"))
        status = await driver.status(UnitId("u1"))
        assert status is not None and not status.frozen
