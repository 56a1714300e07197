"""The node where the machine runs out: a full disk, no free handles, a directory that cannot be written, a clock that
jumps. Starts are refused with the reason, what runs goes on, no end is lost, and all is well again without hands."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from homeport.core.errors import DriverUnavailable
from homeport.core.ids import UnitId
from homeport.core.service import REFUSED
from homeport.core.units import UnitState
from homeport.node import disk, host, processes
from homeport.testing.driver_suite import RUN, SUCCEED, end_of, eventually, unit_spec
from homeport.testing.nodes import NodeProcess, leftovers, running_node
from homeport.testing.small_disk import fill, small_disk

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(host.userns_obstacle() is not None, reason=str(host.userns_obstacle())),
]
# The node with a fault that a file switches on; its path is the first argument.
FAULT = "import sys\nfrom pathlib import Path\nfault = Path(sys.argv.pop(1))\n"
RUN_NODE = "\nfrom homeport.node.main import run\nsys.exit(run())"


def waiting(then: str) -> tuple[str, ...]:
    """A program that waits for a file in its directory."""
    return ("/bin/sh", "-c", f"while [ ! -e /app/go ]; do sleep 0.02; done; {then}")


def go(node: NodeProcess, unit: UnitId) -> None:
    os.mknod(node.data / "node" / "units" / unit / "app" / "go")


async def texts(node: NodeProcess, unit: UnitId) -> list[str]:
    return [line.text for line in await node.driver.log(unit, 0, 10_000)]


@asynccontextmanager
async def node_on_a_small_disk() -> AsyncIterator[NodeProcess]:
    folder = Path(tempfile.mkdtemp(prefix="homeport-node-"))
    folder.chmod(0o755)
    try:
        with small_disk(folder / "data", 24):
            node = NodeProcess(folder)
            try:
                await node.start()
                yield node
            finally:
                if node.process is not None and node.process.poll() is None:
                    node.terminate()
                await node.driver.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def test_on_a_full_disk_starts_are_refused_ends_are_kept_and_all_is_well_when_there_is_room() -> None:
    async with node_on_a_small_disk() as node:
        talking = unit_spec(("/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done"))
        ending, failing = unit_spec(waiting("exit 4")), unit_spec(waiting("kill -SEGV $$"))
        for spec in (talking, ending, failing):
            await node.driver.start(spec)
        for spec in (ending, failing):
            go(node, spec.id)  # they look again in a moment
        filler = fill(node.data)
        refused = unit_spec(SUCCEED)
        with pytest.raises(DriverUnavailable, match=r"disk is full|No space left"):
            await node.driver.start(refused)
        outcomes = [(await end_of(node.driver, spec.id)).status.outcome for spec in (ending, failing)]
        assert [(found.exit_code, found.signal) for found in outcomes if found] == [(4, None), (None, 11)]
        assert await node.driver.status(refused.id) is None
        node.kill()
        await node.start()  # also on a full disk: somebody has to look after what lives
        assert {unit.id for unit in await node.driver.units()} == {talking.id, ending.id, failing.id}
        await node.driver.forget(ending.id)
        filler.unlink()

        async def starts() -> bool:
            try:
                await node.driver.start(refused)
            except DriverUnavailable:
                return False
            return True

        await eventually(starts)
        outcome = (await end_of(node.driver, refused.id)).status.outcome
        assert outcome is not None and outcome.exit_code == 0
        before = len(await texts(node, talking.id))

        async def goes_on() -> bool:
            return len(await texts(node, talking.id)) > before + 5

        await eventually(goes_on)
        lines = await texts(node, talking.id)
        numbers = [int(line.split()[1]) for line in lines if line.startswith("line ")]
        assert numbers == sorted(numbers), "in order, none twice"
        assert lines == [f"line {n}" for n in numbers] or any("the disk was full" in line for line in lines)
        status = await node.driver.status(talking.id)
        assert status is not None and status.state is UnitState.RUNNING


async def test_output_that_a_full_disk_cannot_take_is_counted_and_the_program_goes_on() -> None:
    async with node_on_a_small_disk() as node:
        many = unit_spec(waiting("seq 1 200000; while [ -e /app/go ]; do sleep 0.02; done; echo after; exit 3"))
        root = (await node.driver.start(many)).pid
        assert root is not None
        go(node, many.id)
        filler = fill(node.data, 600 * 1024)

        async def is_lost() -> bool:
            return "is lost: " in node.log

        await eventually(is_lost)
        mark = node.data / "node" / "units" / many.id / "app" / "go"

        async def has_printed() -> bool:
            """All 200 000 lines were taken from it: it waits for us."""
            return not is_counting(root)

        await eventually(has_printed)
        filler.unlink()
        mark.unlink()
        outcome = (await end_of(node.driver, many.id)).status.outcome
        assert outcome is not None and outcome.exit_code == 3
        lines: list[str] = []
        offset = 0
        while found := await node.driver.log(many.id, offset, 10_000):
            lines, offset = lines + [line.text for line in found], found[-1].offset
        lost = sum(int(line.split()[1]) for line in lines if "the disk was full" in line)
        assert lost > 0 and lines[-1] == "after"
        assert len([line for line in lines if line.isdigit()]) + lost == 200_000


def is_counting(root: int) -> bool:
    """Whether `seq` still runs below the process `root`."""
    for pid in processes.descendants(root):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "seq\n":
                return True
    return False


async def test_an_end_that_cannot_be_written_down_is_told_as_soon_as_it_can_and_not_before() -> None:
    broken = "import os\nfrom homeport.node import disk\nreal = disk.write_all\ndef write_all(handle, data):\n"
    broken += (
        "    if fault.exists() and b'\"end\"' in data: real(handle, data[:9]); raise OSError(28, os.strerror(28))\n"
    )
    broken += "    real(handle, data)\ndisk.write_all = write_all\n"
    async with running_node() as node:
        node.kill()
        fault = node.folder / "fault"
        node.program = ("-c", FAULT + broken + RUN_NODE, str(fault))
        await node.start()
        fault.touch()
        specs = [unit_spec(("/bin/sh", "-c", f"exit {code}")) for code in (4, 5)]
        for spec in specs:
            await node.driver.start(spec)

        async def waits() -> bool:
            return node.log.count("cannot be written down") == 2

        await eventually(waits)
        for spec in specs:
            status = await node.driver.status(spec.id)
            assert status is not None and status.outcome is None
        await node.driver.start(unit_spec(RUN))  # other records are written, whole
        fault.unlink()
        ends = [await end_of(node.driver, spec.id) for spec in specs]
        assert [end.status.outcome.exit_code for end in ends if end.status.outcome] == [4, 5]
        node.kill()
        node.program = ("-m", "homeport.node")
        await node.start()
        assert [await end_of(node.driver, spec.id) for spec in specs] == ends


async def test_without_free_handles_starts_are_refused_before_anything_breaks() -> None:
    few = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))\n"
    async with running_node() as node:
        node.kill()
        node.program = ("-c", "import sys\n" + few + RUN_NODE)
        await node.start()
        most = (await node.driver.info())["units_most"]
        assert most == 6
        specs = [unit_spec(RUN) for _ in range(most)]
        for spec in specs:
            await node.driver.start(spec)
        for _ in range(50):  # a refusal costs nothing that is not given back
            with pytest.raises(DriverUnavailable, match="runs 6 units already"):
                await node.driver.start(unit_spec(RUN))
        await node.driver.stop(specs[0].id, 0)
        await end_of(node.driver, specs[0].id)
        assert (await node.driver.start(unit_spec(RUN))).state is UnitState.RUNNING


async def test_a_start_that_finds_no_handle_is_refused_and_leaves_nothing() -> None:
    """At every point of a start."""
    scarce = "import os\nreal = os.open\ncount = 0\ndef scarce(path, flags, *more, **named):\n    global count\n"
    scarce += "    if not fault.exists(): count = 0\n    elif '/units/' in str(path):\n        count += 1\n"
    scarce += "        if count == int(fault.read_text()): raise OSError(24, os.strerror(24), str(path))\n"
    scarce += "    return real(path, flags, *more, **named)\nos.open = scarce\n"
    async with running_node() as node:
        node.kill()
        fault = node.folder / "fault"
        node.program = ("-c", FAULT + scarce + RUN_NODE, str(fault))
        await node.start()

        async def clean() -> bool:
            return leftovers(node) == []

        refused = 0
        for number in range(1, 30):
            disk.replace(fault, str(number))
            spec = unit_spec(SUCCEED)
            try:
                await node.driver.start(spec)
            except DriverUnavailable as error:
                assert "Too many open files" in error.message
                refused += 1
            fault.unlink()
            if refused == number:
                assert await node.driver.status(spec.id) is None
                await eventually(clean)
                await node.driver.start(spec)
            outcome = (await end_of(node.driver, spec.id)).status.outcome
            assert outcome is not None and outcome.exit_code == 0
            await node.driver.forget(spec.id)
            if refused < number:
                break
        assert refused >= 5


async def test_a_directory_that_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "data" / "node" / "journal").mkdir(parents=True)
    done = await asyncio.to_thread(start_in_vain, tmp_path)
    assert done.returncode == REFUSED
    assert "journal: Is a directory" in done.stderr and "Traceback" not in done.stderr
    with small_disk(tmp_path / "disk", 4) as place:
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        done = await asyncio.to_thread(start_in_vain, tmp_path, place)
        assert done.returncode == REFUSED
        assert "Read-only file system" in done.stderr and "Traceback" not in done.stderr


def start_in_vain(folder: Path, data: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = NodeProcess(folder).command(data)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_a_clock_that_jumps_changes_neither_timeouts_nor_the_order_of_output() -> None:
    stepped = "from datetime import timedelta\nfrom homeport.core.clock import SystemClock\nreal = SystemClock.now\n"
    stepped += "SystemClock.now = lambda self: real(self) + timedelta(seconds=float(fault.read_text()))\n"
    async with running_node() as node:
        node.kill()
        clock = node.folder / "clock"
        clock.write_text("0")
        node.program = ("-c", FAULT + stepped + RUN_NODE, str(clock))
        await node.start()
        counting = ("/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done")
        began = time.monotonic()
        spec = unit_spec(counting, timeout_s=4.0)
        await node.driver.start(spec)
        for step in ("90000", "-90000", "0"):
            disk.replace(clock, step)
            seen = len(await texts(node, spec.id))

            async def more(seen: int = seen) -> bool:
                status = await node.driver.status(spec.id)
                return len(await texts(node, spec.id)) > seen or (status is not None and status.outcome is not None)

            await eventually(more)
            node.kill()
            await node.start()  # the time that is left is known to a later node, too
        end = await end_of(node.driver, spec.id)
        assert 4.0 <= time.monotonic() - began < 14.0
        assert end.status.outcome is not None and end.status.outcome.timed_out
        assert end.status.ended_at is not None and end.status.started_at is not None
        assert end.status.ended_at >= end.status.started_at
        lines = await node.driver.log(spec.id, 0, 10_000)
        assert [line.time for line in lines] == sorted({line.time for line in lines})
        assert [int(line.text) for line in lines] == list(range(1, len(lines) + 1))
        assert await node.driver.log_before(spec.id, lines[50].time, 100) == lines[:50]


async def test_a_timeout_that_passed_while_the_node_was_dead_is_enforced_at_once() -> None:
    async with running_node() as node:
        spec = unit_spec(RUN, timeout_s=1.0, stop_grace_s=30)
        await node.driver.start(spec)
        began = time.monotonic()
        node.kill()
        await asyncio.sleep(1.2)
        await node.start()
        outcome = (await end_of(node.driver, spec.id)).status.outcome
        assert outcome is not None and outcome.timed_out and time.monotonic() - began < 10
