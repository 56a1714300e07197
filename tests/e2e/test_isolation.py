"""Attacks from inside a unit on what is outside, with a node that is root and with a node of an ordinary user."""

import asyncio
import json
import os
import pwd
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from homeport.core.units import Outcome
from homeport.node import host, processes
from homeport.testing.driver_suite import end_of, eventually, unit_spec
from homeport.testing.nodes import ORDINARY_UID, NodeProcess, running_node

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(host.userns_obstacle() is not None, reason=str(host.userns_obstacle())),
]

SCRIPT = r"""
import ctypes, glob, json, os, signal, socket, subprocess, sys
facts = json.loads(os.environ["FACTS"])
libc = ctypes.CDLL(None, use_errno=True)
found = {}

def attempt(name):
    def run(work):
        try:
            found[name] = work()
        except BaseException as error:
            found[name] = f"refused: {type(error).__name__}: {error}"
    return run

def call(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return "done"

def status(field):
    return next(line.split(":")[1].strip() for line in open("/proc/self/status") if line.startswith(field + ":"))

def mount(source, target, kind, flags):
    return call(libc.mount(source, target, kind, ctypes.c_ulong(flags), None))

attempt("mount tmpfs")(lambda: mount(b"x", b"/tmp", b"tmpfs", 0))
attempt("mount the disk")(lambda: mount(facts["disk"].encode(), b"/tmp", b"ext4", 0))
attempt("mount devtmpfs")(lambda: mount(b"x", b"/tmp", b"devtmpfs", 0))
attempt("remount / writable")(lambda: mount(None, b"/", None, 32))
attempt("remount /usr writable")(lambda: mount(None, b"/usr", None, 32 | 4096))
attempt("umount /app")(lambda: call(libc.umount2(b"/app", 2)))
attempt("mknod of a disk")(lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0)) or "done")
attempt("write to /usr")(lambda: open("/usr/x", "w") and "done")
attempt("write to /")(lambda: open("/x", "w") and "done")
attempt("write to /dev")(lambda: open("/dev/x", "w") and "done")
attempt("chroot")(lambda: os.chroot("/tmp") or "done")
attempt("set the host name")(lambda: socket.sethostname("evil") or "done")
attempt("new user namespace")(lambda: call(libc.unshare(0x10000000)))
attempt("new mount namespace")(lambda: call(libc.unshare(0x00020000)))
attempt("setuid 0")(lambda: os.setuid(0) or "done")
attempt("gain by a setuid program")(lambda: subprocess.run(
    ["/usr/bin/su", "-c", "id -u"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.strip() == "0")
for pid in (facts["node"], facts["tests"]):
    attempt(f"signal {pid}")(lambda: os.kill(pid, 0) or "done")
    attempt(f"ptrace {pid}")(lambda: call(libc.ptrace(16, pid, 0, 0)))
    attempt(f"environment of {pid}")(lambda: open(f"/proc/{pid}/environ").read() and "done")
for name in ("database", "other bundle", "other unit", "socket", "home", "journal"):
    attempt(f"see the {name}")(lambda: os.stat(facts[name]) and "done")
attempt("connect to the node")(lambda: socket.socket(socket.AF_UNIX).connect(facts["socket"]) or "done")
attempt("write to the kernel's settings")(lambda: open("/proc/sys/kernel/core_pattern", "w") and "done")
attempt("trigger sysrq")(lambda: open("/proc/sysrq-trigger", "w").write("h") and "done")

found["capabilities"] = [status(name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
found["no new privileges"] = status("NoNewPrivs")
found["ids"] = [os.getuid(), os.getgid(), os.getgroups(), os.environ.get("HOME")]
found["environment"] = sorted(os.environ)
found["root"] = sorted(os.listdir("/"))
found["handles"] = sorted(os.readlink(path).split(":")[0] for path in glob.glob("/proc/self/fd/[012]"))
found["open"] = sorted(int(name) for name in os.listdir("/proc/self/fd"))
found["pids"] = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
found["environments"] = "".join(
    open(path, errors="replace").read()
    for kind in ("environ", "cmdline") for path in glob.glob(f"/proc/[0-9]*/{kind}"))
found["session"] = os.getsid(0) != 0
open("/app/mine", "w").write("x"); open("/app/given", "a").write("more"); open("/tmp/t", "w").close()
open(os.path.expanduser("~/h"), "w").close()
found["app"] = open("/app/given").read()
print(json.dumps(found))
"""


def node_uid(kind: str) -> int | None:
    """The uid with which to start a node of this kind; skips what the user of the tests cannot start."""
    root = os.geteuid() == 0
    if kind == "root" and not root:
        pytest.skip("needs root")
    return ORDINARY_UID if kind == "user" and root else None


def write_bundle(node: NodeProcess, name: str) -> Path:
    bundle = node.data / "bundles" / name / "app"
    bundle.mkdir(parents=True)
    (bundle / "given").write_text("given ")
    if node.uid is not None:
        for path in (bundle.parents[1], bundle.parent, bundle, bundle / "given"):
            os.chown(path, node.uid, node.uid)
    return bundle


async def attack(uid: int | None) -> dict[str, Any]:
    async with running_node(uid) as node:
        assert node.process is not None
        bundle, other = write_bundle(node, "one"), write_bundle(node, "two")
        (node.data / "homeport.db").write_text("secret")
        neighbour = unit_spec(("/bin/sleep", "600"))
        await node.driver.start(neighbour)
        facts = {
            "node": node.process.pid,
            "tests": os.getpid(),
            "disk": "/dev/vda",
            "database": str(node.data / "homeport.db"),
            "other bundle": str(other),
            "other unit": str(node.data / "node" / "units" / neighbour.id),
            "socket": str(node.socket),
            "journal": str(node.data / "node" / "journal"),
            "home": pwd.getpwuid(os.geteuid()).pw_dir + "/.",
        }
        env = {"FACTS": json.dumps(facts), "HOME": "/home/agent", "PATH": "/usr/bin:/bin"}
        argv = (sys.executable if sys.prefix == sys.base_prefix else _base_python(), "-c", SCRIPT)
        mounts = () if sys.base_prefix == "/usr" else (node.interpreter,)
        if str(Path(sys.base_prefix)).startswith(facts["home"][:-1]):
            facts["home"] += "/.bashrc"  # the interpreter's own directory is shown on purpose
            env["FACTS"] = json.dumps(facts)
        spec = unit_spec(argv, env=env, bundle=str(bundle), mounts=mounts)
        status = await node.driver.start(spec)
        outside = await _host_ids(node, neighbour.id)
        end = await end_of(node.driver, spec.id)
        lines = await node.driver.log(spec.id, 0, 100)
        assert end.status.outcome is not None and end.status.outcome.exit_code == 0, lines
        return {
            **json.loads(lines[-1].text),
            "facts": facts,
            "status": status,
            "host ids": outside,
            "bundle": sorted(path.name for path in bundle.iterdir()),
            "given": (bundle / "given").read_text(),
        }


async def _host_ids(node: NodeProcess, unit: Any) -> set[int]:
    """The uids that the processes of a unit have on the host: real, effective, saved and of the file system."""
    status = await node.driver.status(unit)
    assert status is not None and status.pid is not None
    ids: set[int] = set()
    for pid in (processes.parent(status.pid), status.pid, *processes.descendants(status.pid)):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        ids |= {int(word) for line in lines if line.startswith(("Uid:", "Gid:")) for word in line.split()[1:]}
    return ids


def _base_python() -> str:
    return f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module", params=["root", "user"])
def found(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What one attacker achieved."""
    yield asyncio.run(attack(node_uid(request.param)))


def test_every_attack_is_refused(found: dict[str, Any]) -> None:
    attacks = {name: result for name, result in found.items() if " " in name and isinstance(result, str)}
    succeeded = {name: result for name, result in attacks.items() if result == "done"}
    assert succeeded == {} and len(attacks) > 25
    assert found["gain by a setuid program"] is not True


def test_a_unit_has_no_capabilities_and_cannot_gain_privileges(found: dict[str, Any]) -> None:
    assert {int(mask, 16) for mask in found["capabilities"]} == {0}
    assert found["no new privileges"] == "1"


def test_a_unit_is_never_root_neither_inside_nor_on_the_host(found: dict[str, Any]) -> None:
    assert found["ids"][:2] == [1000, 1000] and set(found["ids"][2]) <= {1000}
    assert 0 not in found["host ids"]


def test_nothing_is_inherited(found: dict[str, Any]) -> None:
    assert set(found["environment"]) <= {"FACTS", "HOME", "PATH", "PWD", "LC_CTYPE"}
    assert len(found["open"]) <= 4, "only standard handles, and the one that lists them"
    assert "of-node" not in found["environments"]


def test_a_unit_sees_no_process_but_its_own(found: dict[str, Any]) -> None:
    assert len(found["pids"]) <= 3
    assert found["facts"]["database"].removesuffix("homeport.db") not in found["environments"].replace(
        json.dumps(found["facts"]), ""
    )


def test_a_unit_sees_only_the_system_and_its_own_directories(found: dict[str, Any]) -> None:
    system = {"app", "bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp", "usr"}
    assert set(found["root"]) - system <= {Path(sys.base_prefix).parts[1]}


def test_writes_stay_in_the_unit(found: dict[str, Any]) -> None:
    assert found["app"] == "given more"
    assert (found["bundle"], found["given"]) == (["given"], "given ")


@pytest.fixture(params=["root", "user"])
def uid(request: pytest.FixtureRequest) -> int | None:
    return node_uid(request.param)


async def run(node: NodeProcess, script: str, **limits: Any) -> Outcome:
    mounts = () if sys.base_prefix == "/usr" else (node.interpreter,)
    spec = unit_spec((_base_python(), "-c", script), mounts=mounts, **limits)
    await node.driver.start(spec)
    outcome = (await end_of(node.driver, spec.id)).status.outcome
    assert outcome is not None
    return outcome


FORK_BOMB = """
import os, time
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
except OSError:
    raise SystemExit(7)
"""
MEMORY_HOG = """
import os, time
held = []
if os.fork() == 0:  # the limit is the unit's, not a process's
    held.append(bytearray(40_000_000)); time.sleep(60)
while True:
    held.append(bytearray(4_000_000)); time.sleep(0.005)
"""


async def test_a_fork_bomb_is_contained_by_the_limit_and_leaves_nothing(uid: int | None) -> None:
    own_uid = 62_000 + os.getpid() % 1000  # nobody else's, so that its processes can be counted
    async with running_node(uid, ("--sandbox-uid", str(own_uid))) as node:
        exact = (await node.driver.info())["process_limit"] != "watchdog"
        outcome = await run(node, FORK_BOMB, max_processes=60)
        if exact:
            assert outcome.exit_code == 7
        else:
            assert outcome.signal is not None and "more than 60 processes" in outcome.reason
        if os.geteuid() == 0:  # else the user's other processes count, too
            counted = own_uid if uid is None else uid

            # At most the node itself, once it has removed what the unit wrote.
            async def gone() -> bool:
                return processes.tasks_of_user(counted) <= 1

            await eventually(gone)


async def test_a_unit_that_stops_its_own_init_still_ends_with_its_exit_code(uid: int | None) -> None:
    script = "import ctypes; ctypes.CDLL(None).ptrace(16, 1, 0, 0); raise SystemExit(5)"
    async with running_node(uid) as node:
        outcome = await run(node, script)
        assert outcome.exit_code == 5 or outcome.signal == 9  # the code is known from Linux 6.15 on


async def test_a_memory_hog_is_killed_as_a_unit_and_named(uid: int | None) -> None:
    async with running_node(uid) as node:
        outcome = await run(node, MEMORY_HOG, memory_mb=100)
        assert outcome.out_of_memory and not outcome.succeeded and "100 MB" in outcome.reason
        assert outcome.peak_memory_mb is not None and 60 <= outcome.peak_memory_mb <= 200


async def test_a_strangers_port_is_not_taken_for_the_units(uid: int | None) -> None:
    script = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); time.sleep(60)"
    async with running_node(uid) as node:
        with closing(socket.create_server(("127.0.0.1", 0))) as stranger:
            mounts = () if sys.base_prefix == "/usr" else (node.interpreter,)
            specs = [unit_spec((_base_python(), "-c", script), mounts=mounts) for _ in range(2)]
            for spec in specs:
                await node.driver.start(spec)

            async def both_listen() -> bool:
                return all([await node.driver.listening(spec.id) for spec in specs])

            await eventually(both_listen)
            first, second = [await node.driver.listening(spec.id) for spec in specs]
            assert len(first) == len(second) == 1 and first != second
            assert stranger.getsockname()[1] not in first | second


async def test_the_environment_of_a_unit_does_not_act_on_the_sandbox_itself(uid: int | None) -> None:
    """LD_PRELOAD would run code of the unit outside, in bubblewrap."""
    async with running_node(uid) as node:
        trace = Path(tempfile.gettempdir()) / f"escaped-{secrets.token_hex(4)}"
        spec = unit_spec(("/bin/true",), env={"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(trace)})
        await node.driver.start(spec)
        await end_of(node.driver, spec.id)
        assert not list(trace.parent.glob(trace.name + "*"))
