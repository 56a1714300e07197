"""Programs that do what programs should not, under a real node that is root and one of an ordinary user. Each time the
neighbour goes on, and nothing is left afterwards: no process, no file, no control group."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from homeport.core.ids import UnitId
from homeport.core.units import Outcome, UnitSpec, UnitStatus
from homeport.node import host, processes
from homeport.testing.driver_suite import end_of, eventually, unit_spec
from homeport.testing.nodes import ORDINARY_UID, NodeProcess, leftovers, running_node

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(host.userns_obstacle() is not None, reason=str(host.userns_obstacle())),
]
PYTHON = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
MIB = 1024 * 1024


@dataclass
class Neighbourhood:
    """A node with a unit that prints without pause, beside which others do their mischief."""

    node: NodeProcess
    neighbour: UnitId

    def spec(self, script: str, **limits: Any) -> UnitSpec:
        mounts = () if sys.base_prefix == "/usr" else (self.node.interpreter,)
        return unit_spec((PYTHON, "-c", "import os, signal, sys, time\n" + script), mounts=mounts, **limits)

    async def start(self, script: str, **limits: Any) -> UnitStatus:
        return await self.node.driver.start(self.spec(script, **limits))

    async def outcome(self, unit: UnitId) -> Outcome:
        found = (await end_of(self.node.driver, unit)).status.outcome
        assert found is not None
        return found

    async def run(self, script: str, **limits: Any) -> Outcome:
        return await self.outcome((await self.start(script, **limits)).id)

    async def prints(self, unit: UnitId, text: str) -> None:
        async def printed() -> bool:
            return any(text in line.text for line in await self.node.driver.log(unit, 0, 1000))

        await eventually(printed)

    async def ticks(self) -> int:
        """How often the neighbour has printed."""
        count = offset = 0
        while lines := await self.node.driver.log(self.neighbour, offset, 10_000):
            count, offset = count + len(lines), lines[-1].offset
        return count

    async def goes_on(self) -> None:
        before = await self.ticks()

        async def more() -> bool:
            return await self.ticks() > before + 3

        await eventually(more)

    async def ends_clean(self, counted: int | None) -> None:
        for unit in await self.node.driver.units():
            await self.node.driver.stop(unit.id, 0)
            await end_of(self.node.driver, unit.id)
            await self.node.driver.forget(unit.id)

        async def clean() -> bool:
            alone = counted is None or processes.tasks_of_user(counted) <= (1 if self.node.uid else 0)
            return leftovers(self.node) == [] and alone

        await eventually(clean)


@asynccontextmanager
async def neighbourhood(kind: str) -> AsyncIterator[Neighbourhood]:
    root = os.geteuid() == 0
    if kind == "root" and not root:
        pytest.skip("needs root")
    uid = ORDINARY_UID if kind == "user" and root else None
    own = 61_000 + os.getpid() % 1000  # nobody else's, so that its processes can be counted
    async with running_node(uid, ("--sandbox-uid", str(own))) as node:
        ticking = unit_spec(("/bin/sh", "-c", "while :; do echo tick; sleep 0.02; done"))
        await node.driver.start(ticking)
        place = Neighbourhood(node, ticking.id)
        yield place
        await place.goes_on()
        await place.ends_clean((own if uid is None else uid) if root else None)


@pytest.fixture(params=["root", "user"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Neighbourhood]:
    async with neighbourhood(request.param) as found:
        yield found


DAEMONS = """
import ctypes
for number in range(4):
    if os.fork() == 0:
        os.setsid()
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # a subreaper
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            if number % 2:
                for handle in (0, 1, 2): os.close(handle)
            os.chdir("/")
            while True: time.sleep(60)
        if number < 2: os._exit(0)
        time.sleep(600)
print("forked", flush=True)
"""


async def test_daemons_end_with_the_program_that_forked_them(place: Neighbourhood) -> None:
    """Also those in sessions of their own, that hold standard output, or gave it up."""
    assert (await place.run(DAEMONS + "raise SystemExit(5)")).exit_code == 5
    status = await place.start(DAEMONS + "time.sleep(600)")
    await place.prints(status.id, "forked")
    await place.node.driver.stop(status.id, 0.2)
    outcome = await place.outcome(status.id)
    assert outcome.stopped and outcome.signal == 15


async def test_whoever_ignores_sigterm_is_killed_after_the_grace_children_too(place: Neighbourhood) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    children = "for _ in range(5):\n    if os.fork() == 0: break\n"
    both = await place.start(ignore + children + "print('up', flush=True)\ntime.sleep(600)")
    parent = (
        "if os.fork() == 0:\n    " + ignore + "    while True: time.sleep(60)\nprint('up', flush=True)\ntime.sleep(600)"
    )
    leaving = await place.start(parent)
    for status, number in ((both, 9), (leaving, 15)):
        await place.prints(status.id, "up")
        await place.node.driver.stop(status.id, 0.3)
        outcome = await place.outcome(status.id)
        assert outcome.stopped and outcome.signal == number


@pytest.mark.parametrize("ignoring", ["ignores SIGTERM", "is stopped"])
async def test_a_timeout_ends_everything_within_a_second_of_its_time(place: Neighbourhood, ignoring: str) -> None:
    script = "os.fork(); os.fork()\nif os.fork() == 0: os.setsid()\n"
    script += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    script += "os.kill(os.getpid(), signal.SIGSTOP)\n" if ignoring == "is stopped" else ""
    began = time.monotonic()
    status = await place.start(script + "time.sleep(600)", timeout_s=1.0, stop_grace_s=30)
    outcome = await place.outcome(status.id)
    took = time.monotonic() - began
    assert outcome.timed_out and "timed out after 1 s" in outcome.reason
    assert 1.0 <= took < 6.0, "a second, and what a busy machine needs"
    for pid in (status.pid or 0, *processes.descendants(status.pid or 0)):
        assert processes.start_ticks(pid) is None


async def test_gigabytes_of_output_are_bounded_on_disk_and_leave_the_node_time_for_others(place: Neighbourhood) -> None:
    script = "line = b'y\\n' * 32768\nos.fork()\nwhile True: os.write(1, line); os.write(2, line)"
    limit = 2 * MIB
    loud = [await place.start(script, log_limit_bytes=limit) for _ in range(3)]
    node = place.node.process
    assert node is not None
    used, began, slowest = cpu_seconds(node.pid), time.monotonic(), 0.0
    while time.monotonic() - began < 2:
        asked = time.monotonic()
        await place.node.driver.status(place.neighbour)
        slowest = max(slowest, time.monotonic() - asked)
        await asyncio.sleep(0.05)
    share = (cpu_seconds(node.pid) - used) / (time.monotonic() - began)
    assert share < 0.85 and slowest < 5, (share, slowest)
    await place.goes_on()
    for status in loud:
        await place.prints(status.id, "lines of output before this were dropped")
        folder = place.node.data / "node" / "units" / status.id
        assert disk_bytes(folder / "log") < 1.5 * limit
        assert disk_bytes(folder) < 1.5 * limit + 4 * MIB
        first, second = (await place.node.driver.log(status.id, 0, 2))[:2]
        assert "lines of output before this were dropped" in first.text and second.text == "y"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


async def test_endless_lines_zero_bytes_and_broken_text_are_kept_as_lines(place: Neighbourhood) -> None:
    script = "os.write(1, b'x' * 100_000); os.write(1, b'\\n\\0\\xff\\xfe\\n')\n"
    script += "os.write(2, b'\\xc3' * 70_000 + b'\\r\\nend')"
    status = await place.start(script)
    assert (await place.outcome(status.id)).exit_code == 0
    lines = await place.node.driver.log(status.id, 0, 100)
    out = [line.text for line in lines if line.stream == "stdout"]
    assert "".join(out[:-1]) == "x" * 100_000 and out[-1] == "\0��" and max(map(len, out)) <= 16 * 1024
    assert [line.text for line in lines if line.stream == "stderr"][-1] == "end"


FILES = """
for number in range(60):
    with open(f"{place}/{number}", "wb") as file: file.write(bytes(4_000_000))
    time.sleep(0.05)
time.sleep(600)
"""
REMOVED = """
held = []
for number in range(60):
    held.append(open(f"{place}/f", "wb", buffering=0)); os.unlink(f"{place}/f"); held[-1].write(bytes(4_000_000))
    time.sleep(0.05)
time.sleep(600)
"""
HIDDEN = """
os.mkdir(f"{place}/d"); os.chdir(f"{place}/d"); files = [open(str(number), "wb", buffering=0) for number in range(60)]
os.chmod(f"{place}/d", 0)
for file in files: file.write(bytes(4_000_000)); time.sleep(0.05)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("script", "where"),
    [(FILES, "/app"), (REMOVED, "/home/agent"), (HIDDEN, "/home/agent")],
    ids=["files", "removed files", "closed directories"],
)
async def test_whoever_fills_the_disk_is_ended_with_the_limit_named(
    place: Neighbourhood, script: str, where: str
) -> None:
    outcome = await place.run(f"place = {where!r}\n" + script, disk_mb=30)
    assert outcome.signal in (9, 15) and outcome.reason.startswith("disk: more than 30 MB written")


async def test_a_file_ends_at_the_disk_limit_at_once(place: Neighbourhood) -> None:
    script = "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nfile = open('f', 'wb')\n"
    outcome = await place.run(script + "while True: file.write(bytes(1_000_000))", disk_mb=20)
    assert outcome.signal == 25 and "disk: a file of more than 20 MB" in outcome.reason


async def test_many_files_written_and_removed_again_are_no_mischief(place: Neighbourhood) -> None:
    script = "for number in range(40):\n    open('f', 'wb').write(bytes(4_000_000)); os.unlink('f')\n"
    assert (await place.run(script, disk_mb=30)).exit_code == 0


MEMORY = {
    "in files of /dev/shm and /tmp": """
for place in ("/dev/shm", "/tmp"):
    with open(f"{place}/f", "wb") as file:
        try:
            while True: file.write(bytes(1_000_000))
        except OSError: pass
held = [bytearray(1_000_000) for _ in range(80) if not time.sleep(0.01)]
time.sleep(600)
""",
    "by many small children": """
for _ in range(40):
    if os.fork() == 0:
        held = bytearray(os.urandom(1000) * 6000); time.sleep(600)
    time.sleep(0.02)
time.sleep(600)
""",
}


@pytest.mark.parametrize("way", MEMORY)
async def test_memory_is_the_units_whichever_way_it_is_taken(place: Neighbourhood, way: str) -> None:
    outcome = await place.run(MEMORY[way], memory_mb=96)
    assert outcome.out_of_memory and "96 MB" in outcome.reason


async def test_files_in_the_page_cache_are_no_reason_to_end_a_program(place: Neighbourhood) -> None:
    script = "file = open('f', 'w+b')\nfor _ in range(150): file.write(bytes(1_000_000))\nfile.seek(0)\n"
    script += "while file.read(1_000_000): pass\n"
    assert (await place.run(script, memory_mb=64)).exit_code == 0


FORKS = "\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(600)\nexcept OSError: raise SystemExit(7)"
THREADS = """
import threading
try:
    while True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
except RuntimeError: os._exit(7)
"""


@pytest.mark.parametrize("script", [FORKS, THREADS], ids=["processes", "threads"])
async def test_processes_and_threads_are_refused_beyond_the_limit(place: Neighbourhood, script: str) -> None:
    outcome = await place.run(script, max_processes=50)
    if (await place.node.driver.info())["process_limit"] == "watchdog":
        assert "more than 50 processes" in outcome.reason
    else:
        assert outcome.exit_code == 7


async def test_open_files_are_bounded_for_each_process(place: Neighbourhood) -> None:
    script = "held = []\ntry:\n    while True: held.append(os.open('/dev/null', 0))\nexcept OSError as error:\n    "
    script += "print(len(held)); raise SystemExit(error.errno)"
    assert (await place.run(script)).exit_code == 24


async def test_whatever_a_program_does_to_its_own_processes_and_files_ends_it_alone(place: Neighbourhood) -> None:
    expected = {
        "os.mkdir('d'); os.chdir('d'); os.rmdir('/app/d'); raise SystemExit(3)": (3, None),
        "os.kill(0, 9)": (None, 9),
        "os.fork() and time.sleep(600); os.kill(-1, 9); time.sleep(600)": (None, 9),
        "os.fork() and (time.sleep(0.2), os.kill(-1, 9), os._exit(3)); time.sleep(600)": (3, None),
        "os.kill(1, 9); os.kill(1, 15); os.kill(1, 19); raise SystemExit(4)": (4, None),
        "os.close(0); os.close(1); os.close(2); raise SystemExit(6)": (6, None),
    }
    for script, (code, number) in expected.items():
        outcome = await place.run(script)
        assert (outcome.exit_code, outcome.signal) == (code, number), script


FORGE = """
import glob
for handle in [*glob.glob("/proc/*/fd/*"), *(f"/proc/self/fd/{n}" for n in range(3, 64))]:
    try:
        if os.path.realpath(handle).startswith("/dev"): continue
        with open(handle, "ab", buffering=0) as file: file.write(b'{"exit-code": 0}\\n')
    except OSError: pass
for n in range(3, 64):
    try: os.write(n, b'{"exit-code": 0}\\n')
    except OSError: pass
raise SystemExit(9)
"""


async def test_a_program_cannot_forge_the_report_of_its_own_end(place: Neighbourhood) -> None:
    assert (await place.run(FORGE)).exit_code == 9


async def test_a_stranger_that_holds_a_units_output_open_delays_nothing(place: Neighbourhood) -> None:
    """Handed over an abstract socket, which units share, the pipe is written by another unit without end."""
    name = f"\\0homeport-{os.getpid()}-{place.node.uid}"
    take = f"""
import socket, array
server = socket.socket(socket.AF_UNIX); server.bind("{name}"); server.listen(); print("listens", flush=True)
peer, _ = server.accept()
_, ancillary, _, _ = peer.recvmsg(1, socket.CMSG_SPACE(4))
handle = array.array("i", ancillary[0][2])[0]
peer.send(b"x")
while True: os.write(handle, b"stranger\\n" * 100)
"""
    give = f"""
import socket, array
peer = socket.socket(socket.AF_UNIX); peer.connect("{name}")
peer.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1]))]); peer.recv(1)
raise SystemExit(2)
"""
    taker = await place.start(take)
    await place.prints(taker.id, "listens")
    assert (await place.run(give)).exit_code == 2
    await place.goes_on()
