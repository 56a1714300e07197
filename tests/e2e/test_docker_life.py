"""The life of containers on a real engine: servers and engines that are killed, containers that others remove, limits,
and what is left behind."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from homeport.core.errors import Conflict, DriverUnavailable, Invalid
from homeport.core.ids import UnitId
from homeport.core.units import Mount, UnitSpec, UnitState
from homeport.drivers.docker import ssh
from homeport.drivers.docker.address import EngineAddress, TlsFiles
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.drivers.docker.images import Images
from homeport.node import processes
from homeport.testing.containers import opened_driver
from homeport.testing.driver_suite import (
    PRINT,
    RUN,
    STUBBORN,
    answers,
    end_of,
    eventually,
    outcome_of,
    prints,
    unit_spec,
)
from homeport.testing.engines import EngineProcess, engine_obstacle, running_engine

IMAGE = "docker.io/library/homeport-test:1"
OWNER = Owner(installation="life", region="docker")
opened = partial(opened_driver, OWNER)
container = partial(unit_spec, image=IMAGE)
LISTEN = """use IO::Socket::INET; $| = 1;
my ($host, $port) = @ARGV;
my $socket = IO::Socket::INET->new(LocalAddr => $host, LocalPort => $port, Listen => 5, ReuseAddr => 1) or die $!;
print "listening\\n";
while (my $peer = $socket->accept) { print $peer "hello\\n"; close $peer }
"""
CONNECT = """use IO::Socket::INET; $| = 1;
my $socket = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1], Timeout => 2);
print $socket ? "reached\\n" : "refused\\n";
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    if cause := engine_obstacle():
        pytest.skip(cause)
    with running_engine() as running:
        perl = Path("/usr/bin/perl")
        modules = [(path, str(path)) for path in Path("/usr/lib").glob("*/perl-base")]
        running.make_image(IMAGE, [(perl, "/bin/perl"), *modules])
        yield running


def shell(script: str, **more: object) -> UnitSpec:
    return container(("/bin/sh", "-c", script), **more)


async def texts(driver: DockerDriver, unit: UnitId) -> list[str]:
    return [line.text for line in await driver.log(unit, 0, 100_000)]


async def test_labels_alone_make_no_container_ours(engine: EngineProcess, folder: Path) -> None:
    living = container(RUN)
    async with opened(engine, folder) as driver:
        await driver.start(living)
        labels = engine.ask(f"/containers/{OWNER.container_name(living.id)}/json")["Config"]["Labels"]
        forged = {**labels, "homeport.unit": "other", "homeport.spec": json.dumps({"id": "../../x", "kind": "task"})}
        engine.run_container(IMAGE, forged, "homeport-forged", Entrypoint=[*RUN])
        engine.run_container(IMAGE, labels, "homeport-twin", Entrypoint=["/bin/sh", "-c", "exit 3"])
    async with opened(engine, folder) as driver:  # which compares all that the engine has
        assert [unit.id for unit in await driver.units()] == [living.id]
        status = await driver.status(living.id)
        assert status is not None and status.state is UnitState.RUNNING
    assert {"homeport-forged", "homeport-twin"} <= {*engine.names()}


async def test_the_begin_of_an_id_names_no_image(engine: EngineProcess) -> None:
    asked = Engine(EngineAddress(url=engine.url))
    try:
        found = await asked.image(IMAGE)
        assert found is not None
        begin = found["Id"].removeprefix("sha256:")[:6]
        assert await asked.image(begin) == found
        assert await Images(asked).named(begin) is None and await Images(asked).named(found["Id"]) is None
        assert await Images(asked).named(IMAGE) == found["Id"]
    finally:
        await asked.close()


async def test_a_new_driver_knows_every_unit_and_every_end_and_numbers_none_anew(
    engine: EngineProcess, folder: Path
) -> None:
    living, ending, ended = container(RUN), shell("sleep 0.7; exit 4"), shell("exit 9")
    async with opened(engine, folder) as driver:
        before = await driver.start(living)
        await driver.start(ending)
        await driver.start(ended)
        first = await end_of(driver, ended.id)
    async with opened(engine, folder) as driver:
        assert await driver.status(living.id) == before
        assert await end_of(driver, ended.id) == first
        end = await end_of(driver, ending.id)
        assert end.status.outcome is not None and end.status.outcome.exit_code == 4 and end.seq != first.seq
        assert [unit.id for unit in await driver.units()] == [living.id, ending.id, ended.id]
        await driver.stop(living.id, 10)
        assert (await outcome_of(driver, living.id)).signal == signal.SIGTERM


async def test_containers_are_found_by_their_labels_when_everything_else_is_lost(
    engine: EngineProcess, folder: Path, tmp_path: Path
) -> None:
    living, ended = container(RUN, labels={"resource": "r1"}, generation=3), shell("echo said; exit 7")
    async with opened(engine, folder) as driver:
        for spec in (living, ended):
            await driver.start(spec)
        await end_of(driver, ended.id)
    async with opened(engine, tmp_path / "empty") as driver:
        status = await driver.status(living.id)
        assert status is not None and status.state is UnitState.RUNNING and status.labels == {"resource": "r1"}
        with pytest.raises(Conflict):
            await driver.start(container(RUN, id=living.id, generation=2))
        assert (await outcome_of(driver, ended.id)).exit_code == 7 and await texts(driver, ended.id) == ["said"]


async def test_another_installation_and_another_region_on_the_same_engine_are_left_alone(
    engine: EngineProcess, folder: Path, tmp_path: Path
) -> None:
    async with opened(engine, folder) as driver:
        await driver.start(container(RUN, network="acme"))
        for owner in (Owner(installation="life", region="other"), Owner(installation="other", region="docker")):
            other = DockerDriver(Engine(EngineAddress(url=engine.url)), owner, tmp_path / owner.region)
            await other.open()
            assert await other.units() == []
            await other.close()
        assert len(engine.names()) == 1 and engine.names("networks") == ["homeport-life-docker.acme"]


_SERVER = """
import asyncio, sys
from pathlib import Path
from homeport.core.units import UnitSpec
from homeport.drivers.docker.address import EngineAddress, TlsFiles
from homeport.drivers.docker.containers import Owner
from homeport.drivers.docker.driver import DockerDriver
from homeport.drivers.docker.engine import Engine
from homeport.drivers.docker.images import Images
import json

async def main():
    driver = DockerDriver(Engine(EngineAddress(url=sys.argv[1])), Owner(installation="life", region="docker"), Path(sys.argv[2]))
    await driver.open()
    for line in sys.stdin:
        await driver.start(UnitSpec.from_json(json.loads(line)))
        print("started", flush=True)

asyncio.run(main())
"""  # noqa: E501 - a program


@pytest.mark.parametrize("after_s", [0.02, 0.05, 0.1, 0.2, 0.4])
async def test_a_start_that_a_sigkill_interrupted_is_one_container_or_none(
    engine: EngineProcess, folder: Path, after_s: float
) -> None:
    """The caller, whose row is durable, asks again with the same id; the unit runs once."""
    spec = shell("echo begun; sleep 600")
    words = [sys.executable, "-c", _SERVER, engine.url, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None and server.stdout is not None
        warm = container(RUN)
        server.stdin.write(json.dumps(warm.to_json()).encode() + b"\n")
        server.stdin.flush()
        assert await asyncio.to_thread(server.stdout.readline) == b"started\n"
        server.stdin.write(json.dumps(spec.to_json()).encode() + b"\n")
        server.stdin.flush()
        await asyncio.sleep(after_s)
        server.kill()
    async with opened(engine, folder) as driver:
        status = await driver.start(spec)
        assert status.state is UnitState.RUNNING
        assert sorted(unit.id for unit in await driver.units()) == sorted([warm.id, spec.id])
        await prints(driver, spec.id, "begun")
        assert await texts(driver, spec.id) == ["begun"] and len(engine.names()) == 2


async def test_what_is_overdue_after_a_restart_is_ended(engine: EngineProcess, folder: Path) -> None:
    late, stubborn = container(RUN, timeout_s=1.0, stop_grace_s=5), container(STUBBORN, stop_grace_s=0.2)
    async with opened(engine, folder) as driver:
        await driver.start(late)
        await driver.start(stubborn)
        await prints(driver, stubborn.id, "ready")
        await driver.stop(stubborn.id, 600)
    async with opened(engine, folder) as driver:
        timed_out, stopped = await outcome_of(driver, late.id), await outcome_of(driver, stubborn.id)
        assert timed_out.timed_out and timed_out.signal == signal.SIGTERM
        assert stopped.stopped and stopped.signal == signal.SIGKILL


async def test_a_container_that_somebody_removes_is_lost(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        spec = container(RUN)
        await driver.start(spec)
        engine.remove_all()
        end = await end_of(driver, spec.id)
        assert end.status.state is UnitState.LOST and end.status.outcome is not None
        assert end.status.outcome.lost and "removed by somebody else" in end.status.outcome.reason
        await driver.forget(spec.id)


async def test_every_process_is_asked_to_end_and_none_is_left(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        script = "(trap 'echo child asked; exit 0' TERM; while :; do sleep 0.05; done) & trap '' TERM; wait; wait; wait"
        spec = shell(f"{script}; echo over; sleep 600")
        status = await driver.start(spec)
        assert status.pid is not None
        members = processes.descendants(status.pid)
        await eventually(lambda: _more_than(status.pid or 0, 1))
        await driver.stop(spec.id, 1.0)
        assert (await outcome_of(driver, spec.id)).signal == signal.SIGKILL
        assert "child asked" in await texts(driver, spec.id)
        assert all(processes.start_ticks(pid) is None for pid in [status.pid, *members])


async def test_memory_and_processes_are_limited_and_the_outcome_says_so(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        hungry = container(("/bin/perl", "-e", '$x = "x" x (512 * 1024 * 1024); sleep 600'), memory_mb=32)
        child = shell("/bin/perl -e '$x = \"x\" x (512 * 1024 * 1024)'; sleep 600", memory_mb=32)
        many = shell("for n in 1 2 3 4 5 6 7 8 9 10; do sleep 600 & done; echo made; sleep 600", max_processes=6)
        for spec in (hungry, child, many):
            await driver.start(spec)
        for spec in (hungry, child):
            outcome = await outcome_of(driver, spec.id)
            assert outcome.out_of_memory and "32 MB" in outcome.reason
        assert (await outcome_of(driver, many.id)).exit_code == 2


async def test_a_unit_has_no_privileges(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        spec = shell("cat /proc/self/status; cat /proc/1/cmdline | head -c 40; ls /sys/class/net")
        await driver.start(spec)
        await end_of(driver, spec.id)
        said = await texts(driver, spec.id)
        assert "CapEff:\t0000000000000000" in said and "CapBnd:\t0000000000000000" in said
        assert "NoNewPrivs:\t1" in said and any("init" in line for line in said) and said[-1].endswith("lo")


async def test_listening_ports_are_those_that_can_be_reached(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        specs = {
            host: container(("/bin/perl", "-e", LISTEN, host, "8080"), network="acme")
            for host in ("0.0.0.0", "127.0.0.1")
        }
        for spec in specs.values():
            await driver.start(spec)
            await prints(driver, spec.id, "listening")
        assert await driver.listening(specs["0.0.0.0"].id) == {8080}
        assert await driver.listening(specs["127.0.0.1"].id) == frozenset()
        assert await driver.listening_inside(specs["127.0.0.1"].id) == {8080}
        assert await driver.listening_inside(specs["0.0.0.0"].id) == frozenset()
        status = await driver.status(specs["0.0.0.0"].id)
        assert status is not None and status.address is not None
        reader, writer = await asyncio.wait_for(asyncio.open_connection(status.address, 8080), 10)
        assert await reader.read() == b"hello\n"
        writer.close()


async def test_containers_reach_each_other_neither_across_workspaces_nor_inside_one(
    engine: EngineProcess, folder: Path
) -> None:
    async with opened(engine, folder) as driver:
        server = container(("/bin/perl", "-e", LISTEN, "0.0.0.0", "8080"), network="acme")
        status = await driver.start(server)
        await prints(driver, server.id, "listening")
        for network in ("acme", "other"):
            caller = container(("/bin/perl", "-e", CONNECT, str(status.address), "8080"), network=network)
            await driver.start(caller)
            await end_of(driver, caller.id)
            assert await texts(driver, caller.id) == ["refused"], network


async def test_nothing_is_left_after_units_are_forgotten(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        spec = shell("echo x > /tmp/file; echo done", network="acme")
        await driver.start(spec)
        await end_of(driver, spec.id)
        assert await texts(driver, spec.id) == ["done"]
        await driver.forget(spec.id)
        assert engine.names() == [] and list((folder / "units").iterdir()) == []
    async with opened(engine, folder) as driver:
        assert engine.names("networks") == [] and await driver.units() == []


async def test_output_of_two_streams_is_read_once_in_order_whoever_reads_and_however_often(
    engine: EngineProcess, folder: Path
) -> None:
    script = "seq 1 20000; echo half; sleep 0.5; seq 20001 30000; for n in 1 2 3; do echo out; echo err >&2; done"
    spec = shell(script)
    found: list[str] = []
    times = []
    offset = 0
    async with opened(engine, folder) as driver:
        await driver.start(spec)
        await prints(driver, spec.id, "half")
    over = False
    while not over:  # a new driver for each read, as if the server were killed between any two
        async with opened(engine, folder) as driver:
            status = await driver.status(spec.id)
            over = status is not None and status.state is UnitState.EXITED
            while lines := await driver.log(spec.id, offset, 7000):
                found += [f"{line.text}{'!' if line.stream == 'stderr' else ''}" for line in lines]
                times += [line.time for line in lines]
                offset = lines[-1].offset
    assert [text for text in found if text.isdigit()] == [str(n) for n in range(1, 30001)]
    assert [text for text in found if not text.isdigit()].count("err!") == 3 and len(found) == 30007
    assert times == sorted(set(times))


async def test_a_log_keeps_its_bound_and_the_newest_lines(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        spec = shell("seq 1 300000", log_limit_bytes=1024 * 1024)
        await driver.start(spec)
        end = (await end_of(driver, spec.id)).status.ended_at
        assert end is not None
        newest = await driver.log_before(spec.id, end + timedelta(hours=1), 2)
        assert [line.text for line in newest] == ["299999", "300000"]
        kept = sum(path.stat().st_size for path in (folder / "units" / spec.id).rglob("*"))
        assert kept < 2 * 1024 * 1024


async def test_what_cannot_run_is_refused_or_ends_with_the_reason_and_leaves_nothing(
    engine: EngineProcess, folder: Path
) -> None:
    async with opened(engine, folder) as driver:
        for spec in (
            unit_spec(RUN),
            container(RUN, image="homeport-none:1"),
            container(RUN, image="Not/An Image"),
            container(RUN, bundle="/tmp"),
            container(RUN, mounts=(Mount(source="/", target="/x"),)),
            container(RUN, env={"A=B": ""}),
            container(RUN, id=UnitId("../evil")),
        ):
            with pytest.raises(Invalid):
                await driver.start(spec)
        assert await driver.units() == [] and engine.names() == []
        spec = container(("/bin/nonsense",))
        await driver.start(spec)
        outcome = await outcome_of(driver, spec.id)
        assert outcome.exit_code == 127 and "nonsense" in outcome.reason


async def test_the_ledger_and_the_labels_hold_no_environment(engine: EngineProcess, folder: Path) -> None:
    async with opened(engine, folder) as driver:
        spec = container(PRINT, env={"TOKEN": "very-secret"})
        await driver.start(spec)
        lister = Engine(EngineAddress(url=engine.url))
        found = await lister.containers(OWNER.filters)
        await lister.close()
        assert b"very-secret" not in (folder / "journal").read_bytes()
        assert found and "very-secret" not in json.dumps(found)


async def test_an_engine_at_a_tcp_address_is_spoken_to_over_tls_with_a_certificate_and_not_otherwise(
    engine: EngineProcess, folder: Path
) -> None:
    if not engine.own:
        pytest.skip("the engine is somebody's, whose certificates the test does not have")
    files = TlsFiles(
        ca=engine.folder / "ca.pem", cert=engine.folder / "client-cert.pem", key=engine.folder / "client-key.pem"
    )
    driver = DockerDriver(Engine(EngineAddress(url=engine.tls_url, tls=files)), OWNER, folder)
    await driver.open()
    spec = shell("echo remote; exit 4")
    await driver.start(spec)
    assert (await outcome_of(driver, spec.id)).exit_code == 4 and await texts(driver, spec.id) == ["remote"]
    await driver.close()
    stranger = Engine(EngineAddress(url=engine.tls_url, tls=replace(files, ca=engine.folder / "client-cert.pem")))
    with pytest.raises(DriverUnavailable):
        await stranger.version()
    await stranger.close()
    for url in ("tcp://127.0.0.1:2375", "unix:", "http://127.0.0.1", "ssh://", "ssh://me:secret@host", "nonsense"):
        with pytest.raises(Invalid):
            EngineAddress(url=url)


async def test_an_engine_is_spoken_to_through_a_program_as_through_ssh(
    engine: EngineProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but ssh itself: the program that ssh runs on the other machine runs here."""
    if shutil.which("docker") is None:
        pytest.skip("there is no docker program on this machine")
    assert ssh.command("ssh://me@far:2222")[-6:] == ["2222", "--", "far", "docker", "system", "dial-stdio"]
    monkeypatch.setattr(ssh, "command", lambda _: ["docker", "-H", engine.url, "system", "dial-stdio"])
    driver = DockerDriver(Engine(EngineAddress(url="ssh://far")), OWNER, folder)
    await driver.open()
    spec = shell("echo far; exit 5")
    await driver.start(spec)
    assert (await outcome_of(driver, spec.id)).exit_code == 5 and await texts(driver, spec.id) == ["far"]
    await driver.close()


async def test_an_engine_that_is_missing_is_unavailable_and_is_found_when_it_comes(tmp_path: Path) -> None:
    address = EngineAddress(url=f"unix://{tmp_path}/none.sock")
    driver = DockerDriver(Engine(address), OWNER, tmp_path / "driver")
    await driver.open()
    for call in (driver.units(), driver.info(), driver.start(container(RUN)), driver.status(UnitId("u"))):
        with pytest.raises(DriverUnavailable, match=r"none\.sock does not answer"):
            await call
    await driver.close()


async def test_a_killed_engine_that_comes_back_shows_how_its_containers_ended_and_runs_new_ones(
    engine: EngineProcess, folder: Path
) -> None:
    if not engine.own:
        pytest.skip("the engine is not the test's to kill")
    async with opened(engine, folder) as driver:
        spec = container(RUN, network="acme")
        await driver.start(spec)
        engine.kill()
        await eventually(lambda: answers(driver, False))
        engine.start()
        outcome = await outcome_of(driver, spec.id)
        assert not outcome.succeeded and outcome.reason
        await eventually(lambda: answers(driver))
        assert (await driver.start(container(RUN, network="acme"))).state is UnitState.RUNNING


async def _more_than(pid: int, number: int) -> bool:
    return len(processes.descendants(pid)) > number
