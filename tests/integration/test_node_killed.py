"""The node is killed at every step of a unit's life, and its journal is cut at any byte: the next node is never wrong
about a unit, runs none twice, and leaves nothing."""

import asyncio
import random
from contextlib import aclosing
from pathlib import Path

import pytest

from homeport.core.errors import DriverUnavailable
from homeport.core.units import Mount, UnitExit, UnitSpec, UnitState, UnitStatus
from homeport.node import host, processes
from homeport.testing.driver_suite import RUN, end_of, eventually, unit_spec
from homeport.testing.nodes import NodeProcess, leftovers, running_node

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(host.userns_obstacle() is not None, reason=str(host.userns_obstacle())),
]
WAIT = ("/bin/sh", "-c", "while [ ! -e /app/go ]; do sleep 0.02; done; exit 4")
STEPS_MOST = 200  # a life takes some sixty


def program(marks: Path) -> UnitSpec:
    """It leaves a mark when it runs, prints, and exits with 7."""
    mounts = (Mount(source=str(marks), target="/marks", writable=True),)
    return unit_spec(("/bin/sh", "-c", "echo ran >> /marks/ran; echo out; exit 7"), mounts=mounts)


async def live(node: NodeProcess, spec: UnitSpec) -> None:
    """A whole life, as the runner leads it. Raises `DriverUnavailable` when the node dies."""
    await node.driver.start(spec)
    async with asyncio.timeout(30):
        while (await status_of(node, spec)).outcome is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await node.driver.forget(spec.id)


async def status_of(node: NodeProcess, spec: UnitSpec) -> UnitStatus:
    status = await node.driver.status(spec.id)
    assert status is not None
    return status


async def prints(node: NodeProcess, spec: UnitSpec, text: str) -> bool:
    return text in [line.text for line in await node.driver.log(spec.id, 0, 10)]


async def ends(node: NodeProcess) -> list[UnitExit]:
    """All ends that the node tells, up to that of a unit started now."""
    last = unit_spec(("/bin/true",))
    await node.driver.start(last)
    found: list[UnitExit] = []
    async with asyncio.timeout(30), aclosing(node.driver.exits(0)) as stream:  # type: ignore[type-var]
        async for end in stream:
            if end.status.id == last.id:
                break
            found.append(end)
    await node.driver.forget(last.id)
    return found


async def is_clean(node: NodeProcess) -> bool:
    return leftovers(node) == []


@pytest.mark.parametrize("first", [1, 2, 3])
async def test_a_node_killed_at_any_step_of_a_units_life_leaves_it_done_once_or_lost(first: int) -> None:
    """Three rounds that take every third step, so that a failure names its own."""
    died = 0
    async with running_node() as node:
        marks = node.data / "marks"
        marks.mkdir()
        trap = node.folder / "trap"
        for step in range(first, STEPS_MOST, 3):
            (marks / "ran").unlink(missing_ok=True)
            node.kill()
            node.program = ("-m", "homeport.testing.doomed_node", str(trap))
            await node.start()
            trap.write_text(str(step))
            spec = program(marks)
            try:
                await live(node, spec)
            except DriverUnavailable:
                died += 1
            else:
                break
            finally:
                trap.unlink()
                node.kill()
                node.program = ("-m", "homeport.node")
            await node.start()
            await check(node, spec, marks, step)
        else:
            raise AssertionError("the steps do not end")
        assert died >= 10


async def check(node: NodeProcess, spec: UnitSpec, marks: Path, step: int) -> None:
    """What the next node says of the unit is true, a start again repeats nothing, and nothing is left."""
    found = await node.driver.status(spec.id)
    if found is not None:
        end = await end_of(node.driver, spec.id)
        outcome, runs = end.status.outcome, count(marks)
        assert outcome is not None
        if outcome.lost:
            assert runs == 0, f"step {step}: lost, and yet it ran"
        else:
            assert (outcome.exit_code, runs) == (7, 1), f"step {step}: {outcome}"
            assert [line.text for line in await node.driver.log(spec.id, 0, 10)] == ["out"]
        assert await node.driver.start(spec) == end.status
        assert [one.status.id for one in await ends(node)] == [spec.id], f"step {step}: told twice"
        await node.driver.forget(spec.id)
    else:
        assert await ends(node) == [] and count(marks) in (0, 1), f"step {step}"
    try:
        await eventually(lambda: is_clean(node))
    except TimeoutError:
        raise AssertionError(f"step {step} leaves {leftovers(node)}: {node.log[-3000:]}") from None
    assert await node.driver.units() == []


def count(marks: Path) -> int:
    return (marks / "ran").read_text().count("ran") if (marks / "ran").exists() else 0


@pytest.mark.parametrize(("grace_s", "own_s", "code", "number"), [(600, 0, 5, None), (1, 600, None, 9)])
async def test_a_stop_keeps_its_grace_when_the_node_is_killed(
    grace_s: int, own_s: int, code: int | None, number: int | None
) -> None:
    """The program ends once both nodes have asked it to and it had a second more; the later node kills it when the
    first one's grace is over, neither before nor after."""
    until = "[ $n -lt 2 ]" if number is None else ":"
    script = f"n=0; trap 'n=$((n+1)); echo asked' TERM; echo up; while {until}; do sleep 0.1; done; sleep 1; exit 5"
    async with running_node() as node:
        spec = unit_spec(("/bin/sh", "-c", script), stop_grace_s=own_s)
        await node.driver.start(spec)
        await eventually(lambda: prints(node, spec, "up"))  # its trap is set
        await node.driver.stop(spec.id, grace_s)
        await eventually(lambda: prints(node, spec, "asked"))
        node.kill()
        await node.start()
        outcome = (await end_of(node.driver, spec.id)).status.outcome
        assert outcome is not None and outcome.stopped
        assert (outcome.exit_code, outcome.signal) == (code, number)


@pytest.mark.parametrize("seed", range(8))
async def test_a_journal_cut_at_any_byte_gives_true_ends_adopted_units_and_no_strays(seed: int) -> None:
    chance = random.Random(seed)
    async with running_node() as node:
        living, failing, killed, forgotten = (
            unit_spec(RUN),
            unit_spec(("/bin/sh", "-c", "exit 4")),
            unit_spec(("/bin/sh", "-c", "kill -SEGV $$")),
            unit_spec(("/bin/true",)),
        )
        for spec in (forgotten, failing, killed):
            await node.driver.start(spec)
            await end_of(node.driver, spec.id)
        pid = (await node.driver.start(living)).pid
        await node.driver.forget(forgotten.id)
        assert pid is not None
        node.kill()
        journal = node.data / "node" / "journal"
        data = journal.read_bytes()
        journal.write_bytes(data[: chance.randrange(len(data) + 1)] + chance.choice([b"", bytes(4096), b"\xff\n" * 9]))
        await node.start()
        expected = {failing.id: (4, None), killed.id: (None, 11), forgotten.id: (0, None)}
        for status in await node.driver.units():
            if status.id == living.id:
                assert (status.state, status.pid) == (UnitState.RUNNING, pid)
                await node.driver.stop(living.id, 5)
                outcome = (await end_of(node.driver, living.id)).status.outcome
                assert outcome is not None and outcome.stopped and outcome.signal == 15
                continue
            outcome = (await end_of(node.driver, status.id)).status.outcome
            assert outcome is not None
            assert outcome.lost or (outcome.exit_code, outcome.signal) == expected[status.id]
            assert not outcome.lost or status.id == forgotten.id, "only what was forgotten may have lost its files"
        told = [end.status.id for end in await ends(node)]
        assert len(told) == len(set(told))
        await eventually(lambda: is_gone(pid))
        for status in await node.driver.units():
            await node.driver.forget(status.id)
        await eventually(lambda: is_clean(node))


async def test_a_pid_that_somebody_else_has_by_now_misleads_nobody() -> None:
    async with running_node() as node:
        living, ended, older = unit_spec(RUN), unit_spec(WAIT), unit_spec(WAIT)
        pids = {spec.id: (await node.driver.start(spec)).pid for spec in (living, ended, older)}
        node.kill()
        units = node.data / "node" / "units"
        for spec in (ended, older):
            (units / spec.id / "app" / "go").touch()
            pid = pids[spec.id]
            assert pid is not None
            await eventually(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
        stranger = await asyncio.create_subprocess_exec("/bin/sleep", "600")
        boot = processes.boot_id()
        # The pids of one unit belong to a stranger by now; those of one of an earlier boot to another unit, with the
        # same number of a namespace.
        (units / ended.id / "process").write_text(f"{stranger.pid} 1 {boot}")
        report = units / ended.id / "status"
        report.write_text(report.read_text().replace(str(pids[ended.id]), str(stranger.pid)))
        report = units / older.id / "status"
        monitor = processes.parent(pids[living.id] or 0)
        (units / older.id / "process").write_text(f"{monitor} {processes.start_ticks(monitor or 0)} another-boot")
        report.write_text((units / living.id / "status").read_text() + report.read_text().splitlines()[-1])
        await node.start()
        for spec in (ended, older):
            outcome = (await end_of(node.driver, spec.id)).status.outcome
            assert outcome is not None and outcome.exit_code == 4
        status = await node.driver.status(living.id)
        assert status is not None and (status.state, status.pid) == (UnitState.RUNNING, pids[living.id])
        assert stranger.returncode is None and processes.start_ticks(stranger.pid) is not None
        stranger.kill()
        await stranger.wait()


async def test_without_a_journal_programs_that_nobody_knows_are_ended_and_their_files_removed() -> None:
    async with running_node() as node:
        lost = unit_spec(("/bin/sh", "-c", "trap '' TERM; setsid sleep 600 & sleep 600"))
        status = await node.driver.start(lost)
        assert status.pid is not None
        everything = [status.pid, processes.parent(status.pid) or 0, *processes.descendants(status.pid)]
        node.kill()
        (node.data / "node" / "journal").unlink()
        await node.start()
        for pid in everything:
            await eventually(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
        await eventually(lambda: is_clean(node))
        assert await node.driver.units() == []
        again = await node.driver.start(unit_spec(("/bin/true",), id=lost.id))
        assert again.id == lost.id


async def is_gone(pid: int) -> bool:
    """Gone, or dead and not yet reaped by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
