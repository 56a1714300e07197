"""Frozen programs on a real node: no processor time, memory and sockets kept, known to the next node, ended whole."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator

import pytest

from homeport.core.errors import Conflict, Unsupported
from homeport.core.units import Outcome, UnitSpec, UnitState, UnitStatus
from homeport.node import host, processes
from homeport.node.ending import Intent
from homeport.testing.driver_suite import RUN, SHORT, TIDY, end_of, eventually, unit_spec
from homeport.testing.nodes import ORDINARY_UID, NodeProcess, leftovers, running_node
from homeport.testing.system import free_port

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(host.userns_obstacle() is not None, reason=str(host.userns_obstacle())),
]
FORKS = ("/bin/sh", "-c", "while :; do :; done & while :; do /bin/true; done")
COUNTS = """
import socket, sys
memory, listener = 0, socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
while True:
    peer, _ = listener.accept()
    memory += 1
    peer.sendall(b"%d" % memory)
    peer.close()
"""
NO_FREEZER = "this machine lets nobody freeze: there is no freezer of control groups that the node may write"


@pytest.fixture
async def node() -> AsyncIterator[NodeProcess]:
    async with running_node() as running:
        if (await running.driver.info())["freezer"] == "none":
            pytest.skip(NO_FREEZER)
        yield running


async def status_of(node: NodeProcess, spec: UnitSpec) -> UnitStatus:
    status = await node.driver.status(spec.id)
    assert status is not None
    return status


async def outcome_of(node: NodeProcess, spec: UnitSpec) -> Outcome:
    outcome = (await end_of(node.driver, spec.id)).status.outcome
    assert outcome is not None
    return outcome


async def prints(node: NodeProcess, spec: UnitSpec, text: str) -> None:
    async def printed() -> bool:
        return text in [line.text for line in await node.driver.log(spec.id, 0, 10)]

    await eventually(printed)


async def work_of_the_unit(node: NodeProcess, spec: UnitSpec) -> dict[int, str]:
    """The processes of the unit, each with what it has used of the processor."""
    pid = (await status_of(node, spec)).pid
    assert pid is not None
    found = {child: processes.stat_fields(child) for child in processes.descendants(pid)}
    return {child: f"{fields[11]} {fields[12]}" for child, fields in found.items() if fields}


async def test_neither_a_frozen_program_nor_what_it_forks_runs(node: NodeProcess) -> None:
    spec, clock = unit_spec(FORKS), unit_spec(SHORT)
    await node.driver.start(spec)

    async def forked() -> bool:
        return len(await work_of_the_unit(node, spec)) >= 3

    await eventually(forked)
    await node.driver.freeze(spec.id)
    before = await work_of_the_unit(node, spec)
    await node.driver.start(clock)
    await end_of(node.driver, clock.id)
    assert await work_of_the_unit(node, spec) == before
    await node.driver.thaw(spec.id)

    async def works() -> bool:
        return await work_of_the_unit(node, spec) != before

    await eventually(works)


async def test_a_frozen_program_keeps_its_memory_and_takes_connections_that_it_answers_when_thawed(
    node: NodeProcess,
) -> None:
    port = free_port()
    python = f"{node.interpreter.target}/bin/python3"
    spec = unit_spec((python, "-c", COUNTS, str(port)), mounts=(node.interpreter,))
    await node.driver.start(spec)

    async def listens() -> bool:
        return await node.driver.listening(spec.id) == {port}

    await eventually(listens)
    assert await asyncio.to_thread(ask, port) == b"1"
    await node.driver.freeze(spec.id)
    assert await node.driver.listening(spec.id) == {port}
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(20)]
    await node.driver.thaw(spec.id)
    answers = [int(await asyncio.to_thread(one.recv, 16)) for one in waiting]
    for one in waiting:
        one.close()
    assert sorted(answers) == [*range(2, 22)]


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        return connection.recv(16)


async def test_the_node_that_comes_after_a_kill_knows_what_is_frozen_and_thaws_and_ends_it(node: NodeProcess) -> None:
    thawed, stopped, running = unit_spec(TIDY), unit_spec(TIDY), unit_spec(RUN)
    for spec in (thawed, stopped, running):
        await node.driver.start(spec)
    for spec in (thawed, stopped):
        await prints(node, spec, "ready")
        await node.driver.freeze(spec.id)
    node.kill()
    await node.start()
    assert [unit.frozen for unit in await node.driver.units()] == [True, True, False]
    await node.driver.thaw(thawed.id)
    await node.driver.signal(thawed.id, signal.SIGUSR1)
    await prints(node, thawed, "heard")
    await node.driver.stop(stopped.id, 20)
    assert (await outcome_of(node, stopped)).exit_code == 7


async def test_a_stop_that_was_written_down_before_a_kill_ends_a_unit_that_is_still_frozen(node: NodeProcess) -> None:
    spec = unit_spec(TIDY)
    await node.driver.start(spec)
    await prints(node, spec, "ready")
    await node.driver.freeze(spec.id)
    node.kill()
    Intent(stopped=True).save(node.data / "node" / "units" / spec.id / "intent")
    await node.start()
    outcome = await outcome_of(node, spec)
    assert (outcome.exit_code, outcome.stopped) == (7, True)


async def test_a_timeout_that_passes_without_a_node_ends_a_frozen_unit(node: NodeProcess) -> None:
    spec = unit_spec(RUN, timeout_s=1.0)
    await node.driver.start(spec)
    await node.driver.freeze(spec.id)
    node.kill()
    await node.start()
    assert (await outcome_of(node, spec)).timed_out


async def test_a_frozen_program_that_is_killed_from_outside_ends_at_the_latest_when_it_is_thawed(
    node: NodeProcess,
) -> None:
    spec = unit_spec(RUN)
    await node.driver.start(spec)
    command = next(iter(await work_of_the_unit(node, spec)))
    await node.driver.freeze(spec.id)
    processes.send([command], signal.SIGKILL)
    try:
        await node.driver.thaw(spec.id)
    except Conflict:
        pass  # version 2 of control groups has let it end
    outcome = await outcome_of(node, spec)
    assert (outcome.signal, outcome.stopped) == (signal.SIGKILL, False)


async def test_a_node_that_stops_ends_frozen_programs_and_leaves_no_group() -> None:
    async with running_node() as node:
        if (await node.driver.info())["freezer"] == "none":
            pytest.skip(NO_FREEZER)
        spec = unit_spec(TIDY)
        await node.driver.start(spec)
        await prints(node, spec, "ready")
        await node.driver.freeze(spec.id)
        assert await asyncio.to_thread(node.terminate) == 0
        await node.start()
        outcome = await outcome_of(node, spec)
        assert (outcome.exit_code, outcome.stopped) == (7, True)
        await node.driver.forget(spec.id)

        async def clean() -> bool:
            return leftovers(node) == []

        await eventually(clean)


async def test_where_no_group_may_be_written_freezing_is_refused_in_words_and_the_program_runs_on() -> None:
    async with running_node(uid=ORDINARY_UID) as node:
        if (await node.driver.info())["freezer"] != "none":
            pytest.skip("control groups are delegated to ordinary users here")
        spec = unit_spec(RUN)
        await node.driver.start(spec)
        with pytest.raises(Unsupported, match="freezer of control groups"):
            await node.driver.freeze(spec.id)
        status = await status_of(node, spec)
        assert status.state is UnitState.RUNNING and not status.frozen
        await node.driver.thaw(spec.id)
        await node.driver.stop(spec.id, 10)
        assert (await outcome_of(node, spec)).signal == signal.SIGTERM
