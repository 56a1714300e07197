"""What goes wrong with images and engines, on a real engine: what is told, and that nothing is left."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from homeport.core.errors import DriverUnavailable
from homeport.core.images import ImageReference, parse_reference
from homeport.core.units import UnitSpec, UnitState
from homeport.drivers.docker import inside, usage
from homeport.drivers.docker.address import EngineAddress
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.engine import Engine
from homeport.drivers.docker.images import Images
from homeport.drivers.docker.lives import ENGINE_ENDED
from homeport.drivers.docker.refusals import ImageRefused
from homeport.testing.containers import opened_driver
from homeport.testing.driver_suite import RUN, answers, eventually, outcome_of, prints, unit_spec
from homeport.testing.engines import EngineProcess, engine_obstacle, running_engine

REPOSITORY = "docker.io/library/homeport-faults"
IMAGE, WITH_VOLUME = f"{REPOSITORY}:1", f"{REPOSITORY}:volume"
OWNER = Owner(installation="faults", region="docker")
opened = partial(opened_driver, OWNER)
container = partial(unit_spec, image=IMAGE)


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    with running_engine() as running:
        running.make_image(IMAGE, config=('CMD ["/bin/sh"]',))
        running.vary_image(WITH_VOLUME, IMAGE, config=("VOLUME /data",))
        yield running


def shell(script: str, **more: object) -> UnitSpec:
    return container(("/bin/sh", "-c", script), **more)


def reference(tag: str) -> ImageReference:
    found = parse_reference(f"{REPOSITORY}:{tag}")
    assert found is not None
    return found


FILL = "for n in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=$0/f$n bs=1M count=10 2>/dev/null; done; sleep 600"
HELD = "exec 7>/tmp/held; rm /tmp/held; dd if=/dev/zero bs=1M count=80 >&7 2>/dev/null; sleep 600"


async def test_whoever_fills_the_disk_is_ended_with_the_limit_named(engine: EngineProcess, folder: Path) -> None:
    specs = {
        "layer": container(("/bin/sh", "-c", FILL, "/tmp"), disk_mb=32),
        "volume": container(("/bin/sh", "-c", FILL, "/data"), disk_mb=32, image=WITH_VOLUME),
        "removed": shell(HELD, disk_mb=64),
        "one file": shell("exec dd if=/dev/zero of=/tmp/f bs=1M count=100", disk_mb=64),
        "memory": container(("/bin/sh", "-c", FILL, "/dev/shm"), disk_mb=32),
        "less": shell("dd if=/dev/zero of=/tmp/f bs=1M count=20 2>/dev/null; echo done; sleep 600", disk_mb=32),
    }
    async with opened(engine, folder) as driver:
        for spec in specs.values():
            await driver.start(spec)
        for name in ("layer", "volume"):
            outcome = await outcome_of(driver, specs[name].id)
            assert outcome.signal and outcome.reason.startswith("disk: more than 32 MB written"), (name, outcome)
        assert "disk: " in (await outcome_of(driver, specs["removed"].id)).reason
        assert (await outcome_of(driver, specs["one file"].id)).reason.startswith("disk: a file of more than 64 MB")
        await prints(driver, specs["less"].id, "done")
        for name in ("memory", "less"):
            status = await driver.status(specs[name].id)
            assert status is not None and status.state is UnitState.RUNNING, name


async def test_where_the_layer_cannot_be_seen_the_engine_is_asked(
    engine: EngineProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "ASK_S", 0.2)
    monkeypatch.setattr(inside, "readable", lambda _: ())
    async with opened(engine, folder) as driver:
        spec = container(("/bin/sh", "-c", FILL, "/tmp"), disk_mb=32)
        await driver.start(spec)
        assert (await outcome_of(driver, spec.id)).reason.startswith("disk: more than 32 MB written")


async def test_the_most_memory_that_a_container_held_is_told(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        spec = shell("head -c 40000000 /dev/zero > /dev/shm/x; rm /dev/shm/x; sleep 3", memory_mb=256)
        await driver.start(spec)
        peak = (await outcome_of(driver, spec.id)).peak_memory_mb
        assert peak is not None and 38 <= peak <= 256


async def test_volumes_go_with_their_containers_and_those_that_others_left_are_removed(
    engine: EngineProcess, folder: Path
) -> None:
    async with opened(engine, folder) as driver:
        specs = [shell("echo x > /data/x; cat /data/x", image=WITH_VOLUME) for _ in range(2)]
        for spec in specs:
            await driver.start(spec)
            await prints(driver, spec.id, "x")
        assert len(engine.volumes(OWNER.filters)) == 2
        await driver.forget(specs[0].id)
        assert len(engine.volumes(OWNER.filters)) == 1
        engine.remove_container(OWNER.container_name(specs[1].id))
        assert len(engine.volumes(OWNER.filters)) == 1
    async with opened(engine, folder):
        assert engine.volumes(OWNER.filters) == []


async def test_an_image_for_another_machine_and_one_without_a_command_are_refused_with_what_to_do(
    engine: EngineProcess,
) -> None:
    engine.load_image(f"{REPOSITORY}:arm", architecture="arm64", config={"Cmd": ["/x"]})
    engine.load_image(f"{REPOSITORY}:mute", architecture="amd64", config={})
    client = Engine(EngineAddress(url=engine.url))
    images = Images(client)
    with pytest.raises(ImageRefused, match=r"is for linux/arm64; the engine runs linux/\w+") as refused:
        await images.resolve(reference("arm"), None)
    assert "docker build --platform linux/" in refused.value.hint
    with pytest.raises(ImageRefused, match="says not what to run"):
        await images.resolve(reference("mute"), None)
    await client.close()


async def test_a_pull_in_which_the_engine_goes_away_is_to_be_tried_again(engine: EngineProcess) -> None:
    if not engine.own:
        pytest.skip("the engine is not the test's to stop")
    asked = asyncio.Event()

    async def answer_never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    registry = await asyncio.start_server(answer_never, "127.0.0.1", 0)
    host = f"127.0.0.1:{registry.sockets[0].getsockname()[1]}"
    for stop in (engine.kill, engine.stop_engine):
        client = Engine(EngineAddress(url=engine.url))
        wanted = parse_reference(f"{host}/slow:1")
        assert wanted is not None
        asked.clear()
        pull = asyncio.ensure_future(Images(client).resolve(wanted, None))
        await asyncio.wait_for(asked.wait(), 30)
        await asyncio.to_thread(stop)
        with pytest.raises(DriverUnavailable):
            await pull
        await asyncio.to_thread(engine.start)
        await client.close()
    registry.close()


async def test_containers_that_end_with_their_engine_say_so_and_others_do_not(
    engine: EngineProcess, folder: Path
) -> None:
    if not engine.own:
        pytest.skip("the engine is not the test's to stop")
    async with opened(engine, folder) as driver:
        for stop in (engine.kill, engine.stop_engine):
            mine, ended = container(RUN, network="acme"), shell("kill -9 $$")
            await driver.start(mine)
            await driver.start(ended)
            assert ENGINE_ENDED not in (await outcome_of(driver, ended.id)).reason
            await asyncio.to_thread(stop)
            await eventually(lambda: answers(driver, False))
            await asyncio.to_thread(engine.start)
            outcome = await outcome_of(driver, mine.id)
            assert not outcome.succeeded and ENGINE_ENDED in outcome.reason, outcome
            await eventually(lambda: answers(driver))
            assert (await driver.start(container(RUN, network="acme"))).state is UnitState.RUNNING


async def test_containers_of_an_engine_that_leaves_them_go_on_through_its_restart(
    engine: EngineProcess, folder: Path
) -> None:
    if not engine.own:
        pytest.skip("the engine is not the test's to stop")
    await asyncio.to_thread(engine.stop_engine)
    await asyncio.to_thread(engine.start, "--live-restore")
    async with opened(engine, folder) as driver:
        spec = shell("while [ ! -e /tmp/end ]; do echo on; sleep 0.1; done", network="acme")
        before = await driver.start(spec)
        for stop in (engine.kill, engine.stop_engine):
            await asyncio.to_thread(stop)
            await eventually(lambda: answers(driver, False))
            await asyncio.to_thread(engine.start, "--live-restore")
            await eventually(lambda: answers(driver))
            assert await driver.status(spec.id) == before
        await driver.stop(spec.id, 0)
        assert (await outcome_of(driver, spec.id)).stopped
    await asyncio.to_thread(engine.stop_engine)
    await asyncio.to_thread(engine.start)
