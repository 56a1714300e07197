"""What a program prints last is kept though it ends while there is no node: `up` holds its pipes open meanwhile."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from homeport.node import host, processes
from homeport.node.holding import Holding
from homeport.supervise.holding import PipeHolder
from homeport.testing.driver_suite import end_of, eventually, unit_spec
from homeport.testing.nodes import NodeProcess, running_node

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(host.userns_obstacle() is not None, reason=str(host.userns_obstacle())),
]
LAST_WORDS = "echo before; while [ ! -e /app/go ]; do sleep 0.02; done; seq 1 1000; echo last words >&2; exit 6"


@contextmanager
def holder(node: NodeProcess) -> Iterator[PipeHolder]:
    held = PipeHolder(node.socket.parent / "pipes.sock")
    held.start()
    try:
        yield held
    finally:
        held.stop()


def holds(folder: Path) -> list[str]:
    """The pipes below `folder` that this process, in which the holder is a thread, has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith(f"{folder}/"):
            found.append(Path(target).name)
    return sorted(found)


async def kept_lines(node: NodeProcess, unit: str) -> list[str]:
    return [line.text for line in await node.driver.log(unit, 0, 5000)]  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["up first", "node first"])
async def test_the_last_words_of_a_program_that_ends_without_a_node_are_kept(order: str) -> None:
    async with running_node() as node:
        if order == "up first":
            node.kill()
        with holder(node):
            if order == "up first":
                await node.start()
            spec = unit_spec(("/bin/sh", "-c", LAST_WORDS))
            status = await node.driver.start(spec)
            units = node.data / "node" / "units"

            async def held() -> bool:
                return holds(units) == ["stderr.pipe", "stdout.pipe"] and bool(await kept_lines(node, spec.id))

            await eventually(held)
            node.kill()
            (units / spec.id / "app" / "go").touch()
            assert status.pid is not None

            async def over() -> bool:
                return processes.start_ticks(status.pid or 0) is None

            await eventually(over)
            await node.start()

            end = (await end_of(node.driver, spec.id)).status
            assert end.outcome is not None and end.outcome.exit_code == 6
            lines = await kept_lines(node, spec.id)
            assert lines == ["before", *map(str, range(1, 1001)), "last words"]

            async def dropped() -> bool:
                return holds(units) == []

            await eventually(dropped)


async def test_a_listener_that_comes_later_is_told_all_and_drops_the_rest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        os.mkfifo(tmp_path / name)
    listener = PipeHolder(tmp_path / "pipes.sock")
    listener.start()
    try:
        first, second = Holding(tmp_path / "pipes.sock"), Holding(tmp_path / "pipes.sock")
        first._connect([tmp_path / "one"])

        async def both() -> bool:
            return holds(tmp_path) == ["one", "two"]

        async def only_two() -> bool:
            return holds(tmp_path) == ["two"]

        first.hold(tmp_path / "two", tmp_path / "absent")
        await eventually(both)
        first._disconnect()  # as when the node is killed
        second._connect([tmp_path / "two"])
        await eventually(only_two)
        second._disconnect()
    finally:
        listener.stop()
    assert holds(tmp_path) == []
