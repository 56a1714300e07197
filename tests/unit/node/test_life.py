"""The life of a node with real units: killed, restarted, stopped, and what is left behind."""

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
from contextlib import aclosing, closing
from pathlib import Path
from socket import AF_UNIX, socket

import pytest

from homeport.core.errors import DriverUnavailable, Invalid
from homeport.core.ids import UnitId
from homeport.core.units import Mount, UnitExit, UnitState
from homeport.node import host, main, processes, sandbox
from homeport.testing.driver_suite import RUN, end_of, eventually, unit_spec
from homeport.testing.nodes import NodeProcess, control_groups, leftovers, node_name, running_node

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(host.userns_obstacle() is not None, reason=str(host.userns_obstacle())),
]


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


async def texts(node: NodeProcess, unit: UnitId) -> list[str]:
    return [line.text for line in await node.driver.log(unit, 0, 10_000)]


async def prints(node: NodeProcess, unit: UnitId, text: str) -> None:
    async def printed() -> bool:
        return text in await texts(node, unit)

    await eventually(printed)


async def is_gone(pid: int) -> bool:
    return processes.start_ticks(pid) is None or Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"


async def test_a_killed_node_is_followed_by_one_that_knows_every_unit_and_every_end() -> None:
    async with running_node() as node:
        living = unit_spec(RUN)
        ending = unit_spec(shell("echo ready; read line < /tmp/never 2>/dev/null; sleep 0.5; exit 4"))
        killed = unit_spec(shell("sleep 0.5; kill -SEGV $$"))
        before = await node.driver.start(living)
        for spec in (ending, killed):
            await node.driver.start(spec)
        pids = {unit.id: unit.pid for unit in await node.driver.units()}
        node.kill()
        with pytest.raises(DriverUnavailable):
            await node.driver.units()
        for spec in (ending, killed):
            pid = pids[spec.id]
            assert pid is not None
            await eventually(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
        await node.start()
        outcomes = [(await end_of(node.driver, spec.id)).status.outcome for spec in (ending, killed)]
        assert [(out.exit_code, out.signal) for out in outcomes if out] == [(4, None), (None, 11)]
        assert await node.driver.status(living.id) == before
        await node.driver.stop(living.id, 10)
        outcome = (await end_of(node.driver, living.id)).status.outcome
        assert outcome is not None and outcome.signal == 15 and outcome.stopped


async def test_ends_are_neither_repeated_nor_renumbered_across_restarts_and_a_reader_stays_connected() -> None:
    async with running_node() as node:
        seen: list[UnitExit] = []
        specs = [unit_spec(shell(f"exit {n}")) for n in range(4)]

        async def read() -> None:
            async with aclosing(node.driver.exits(0)) as ends:  # type: ignore[type-var]
                async for end in ends:
                    seen.append(end)
                    if len(seen) == len(specs):
                        return

        reader = asyncio.ensure_future(read())
        for spec in specs:
            await node.driver.start(spec)
            await end_of(node.driver, spec.id)
            node.kill()
            await node.start()
        await asyncio.wait_for(reader, 30)
        assert [end.seq for end in seen] == [1, 2, 3, 4]
        assert [end.status.id for end in seen] == [spec.id for spec in specs]


async def test_output_survives_the_nodes_absence_and_a_writer_waits_instead_of_dying() -> None:
    async with running_node() as node:
        script = "echo before; while [ ! -e /app/go ]; do sleep 0.02; done; seq 1 30000; echo after; exit 6"
        spec = unit_spec(shell(script), log_limit_bytes=64 * 1024 * 1024)
        status = await node.driver.start(spec)
        await prints(node, spec.id, "before")
        node.kill()
        (node.data / "node" / "units" / spec.id / "app" / "go").touch()
        assert status.pid is not None

        async def blocked() -> bool:
            """The pipe is full: more than 64 KiB wait for a reader."""
            for pid in processes.descendants(status.pid or 0):
                with contextlib.suppress(OSError):  # a `sleep` that has just ended
                    if "pipe" in Path(f"/proc/{pid}/wchan").read_text():
                        return True
            return False

        await eventually(blocked)
        await node.start()
        outcome = (await end_of(node.driver, spec.id)).status.outcome
        assert outcome is not None and outcome.exit_code == 6
        found: list[str] = []
        offset = 0
        while lines := await node.driver.log(spec.id, offset, 5000):
            found += [line.text for line in lines]
            offset = lines[-1].offset
        assert found == ["before", *map(str, range(1, 30001)), "after"]


async def test_a_broken_journal_loses_no_end() -> None:
    async with running_node() as node:
        spec = unit_spec(shell("exit 9"))
        await node.driver.start(spec)
        first = await end_of(node.driver, spec.id)
        node.kill()
        journal = node.data / "node" / "journal"
        journal.write_bytes(journal.read_bytes()[:-7])
        await node.start()
        again = await end_of(node.driver, spec.id)
        assert again.seq == first.seq and again.status.outcome is not None and again.status.outcome.exit_code == 9


async def test_a_unit_whose_start_was_journalled_but_never_happened_is_lost() -> None:
    async with running_node() as node:
        spec = unit_spec(RUN)
        status = await node.driver.start(spec)
        node.kill()
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        (node.data / "node" / "units" / spec.id / "process").unlink()
        await node.start()
        end = await end_of(node.driver, spec.id)
        assert end.status.state is UnitState.LOST and end.status.outcome is not None and end.status.outcome.lost


async def test_a_timeout_kills_the_group_also_after_a_restart_of_the_node() -> None:
    async with running_node() as node:
        script = "trap '' TERM; (setsid sh -c 'sleep 600' & sleep 600) & echo up; wait; sleep 600"
        spec = unit_spec(shell(script), timeout_s=1.0, stop_grace_s=0.3)
        status = await node.driver.start(spec)
        await prints(node, spec.id, "up")
        assert status.pid is not None
        members = processes.descendants(status.pid)
        node.kill()
        await node.start()
        outcome = (await end_of(node.driver, spec.id)).status.outcome
        assert outcome is not None and outcome.timed_out and outcome.signal == 9
        assert len(members) >= 2
        for pid in (status.pid, *members):
            assert await is_gone(pid)


async def test_nothing_is_left_after_a_unit_is_forgotten() -> None:
    async with running_node() as node:
        script = "mkdir -p d/e; echo x > d/e/f; chmod 0 d/e d; mkfifo p; setsid sleep 600 & echo done"
        spec = unit_spec(shell(script))
        status = await node.driver.start(spec)
        await end_of(node.driver, spec.id)
        assert leftovers(node) != []
        await node.driver.forget(spec.id)

        async def clean() -> bool:
            return leftovers(node) == []

        await eventually(clean)
        assert status.pid is not None and await is_gone(status.pid)


async def test_a_stopped_node_ends_its_units_and_leaves_nothing_running() -> None:
    async with running_node() as node:
        spec = unit_spec(RUN)
        status = await node.driver.start(spec)
        assert node.terminate() == 0
        assert status.pid is not None and await is_gone(status.pid)
        assert not node.socket.exists()
        assert not list(Path("/run").glob(f"{node_name(node)}*"))
        assert control_groups(node) == []
        await node.start()
        outcome = (await end_of(node.driver, spec.id)).status.outcome
        assert outcome is not None and outcome.stopped and outcome.signal == 15


async def test_only_the_owner_may_open_the_socket_and_the_journal_holds_no_environment() -> None:
    async with running_node() as node:
        assert stat.S_IMODE(node.socket.stat().st_mode) == 0o600
        spec = unit_spec(RUN, env={"PATH": "/bin", "TOKEN": "very-secret"})
        status = await node.driver.start(spec)
        assert b"very-secret" not in (node.data / "node" / "journal").read_bytes()
        for pid in (status.pid, processes.parent(status.pid or 0)):
            assert b"very-secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_second_node_on_the_same_directory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "LOCK_WAIT_S", 0.1)
    async with running_node() as node:
        assert main.run(["--data", str(node.data), "--socket", str(node.folder / "second.sock")]) == main.TAKEN


async def test_what_cannot_be_started_is_refused_and_leaves_nothing() -> None:
    async with running_node() as node:
        for spec in (
            unit_spec(RUN, bundle="/nowhere"),
            unit_spec(RUN, mounts=(Mount(source="/nowhere", target="/x"),)),
            unit_spec(RUN, env={"A=B": ""}),
            unit_spec((), env={}),
            unit_spec(RUN, id=UnitId("../evil")),
        ):
            with pytest.raises(Invalid):
                await node.driver.start(spec)
        assert await node.driver.units() == []

        async def clean() -> bool:
            return leftovers(node) == []

        await eventually(clean)
        spec = unit_spec(("/bin/nonsense",))
        await node.driver.start(spec)
        outcome = (await end_of(node.driver, spec.id)).status.outcome
        assert outcome is not None and outcome.exit_code == 127 and "nonsense" in outcome.reason


async def test_a_writable_mount_and_a_bundle_can_be_written_by_the_unit() -> None:
    async with running_node() as node:
        build, bundle = node.data / "builds" / "b1", node.data / "bundles" / "d1" / "app"
        for folder in (build / "sub", bundle / "sub"):
            folder.mkdir(parents=True)
        mounts = (Mount(source=str(build), target="/work", writable=True),)
        spec = unit_spec(shell("set -e; echo a > /work/sub/a; echo b > /app/sub/b; cat /app/sub/b"), mounts=mounts)
        spec = unit_spec(spec.argv, bundle=str(bundle), mounts=mounts)
        await node.driver.start(spec)
        outcome = (await end_of(node.driver, spec.id)).status.outcome
        assert outcome is not None and outcome.exit_code == 0
        assert (build / "sub" / "a").read_text() == "a\n"
        assert list((bundle / "sub").iterdir()) == []


async def test_without_a_sandbox_units_run_in_a_private_copy_and_the_node_says_so_loudly() -> None:
    async with running_node(options=("--insecure-no-sandbox",)) as node:
        bundle = node.data / "bundles" / "d1" / "app"
        bundle.mkdir(parents=True)
        (bundle / "run").write_text("echo $0 $WHERE; pwd; echo x > mine; setsid sleep 600 & echo $!; exit 5\n")
        assert (await node.driver.info())["sandbox"] == "none" and "INSECURE" in node.log
        env = {"PATH": "/usr/bin:/bin", "WHERE": "/app/x"}
        spec = unit_spec(("/bin/sh", "/app/run"), bundle=str(bundle), env=env)
        await node.driver.start(spec)
        outcome = (await end_of(node.driver, spec.id)).status.outcome
        private = str(node.data / "node" / "units" / spec.id / "app")
        *lines, left_behind = await texts(node, spec.id)
        assert lines == [f"{private}/run {private}/x", private]
        assert outcome is not None and outcome.exit_code == 5
        assert [path.name for path in bundle.iterdir()] == ["run"]
        assert await is_gone(int(left_behind))
        stopped = unit_spec(shell("sleep 600 & sleep 600"), workdir="/")
        await node.driver.start(stopped)
        await node.driver.stop(stopped.id, 10)
        outcome = (await end_of(node.driver, stopped.id)).status.outcome
        assert outcome is not None and outcome.signal == 15 and outcome.stopped


def test_where_user_namespaces_are_forbidden_the_node_does_not_start_and_says_what_to_do(tmp_path: Path) -> None:
    """A sandbox that forbids further user namespaces is such a machine."""
    bwrap = sandbox.find_bwrap()
    command = [
        str(bwrap),
        "--unshare-user",
        "--disable-userns",
        "--uid",
        "1000",
        "--dev-bind",
        "/",
        "/",
        sys.executable,
    ]
    command += ["-m", "homeport.node", "--data", str(tmp_path / "data"), "--socket", str(tmp_path / "node.sock")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == main.NO_SANDBOX
    *_, last = done.stderr.strip().splitlines()
    assert "sandbox: " in done.stderr and "--insecure-no-sandbox" in last


async def test_a_caller_that_sends_nonsense_harms_nobody() -> None:
    async with running_node() as node:
        for nonsense in (b"\n", b"{}\n", b"[1]\n", b'{"method":"exits"}\n', b"\xff" * 100 + b"\n"):
            with closing(socket(AF_UNIX)) as caller:
                caller.connect(str(node.socket))
                caller.sendall(nonsense)
                caller.settimeout(20)
                assert b"result" not in caller.recv(1000)
        assert await node.driver.units() == []
