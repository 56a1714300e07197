"""The kernel's freezer, version 1 and 2, wherever this machine lets us write it, on real processes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.node.cgroups import ROOT
from homeport.node.freezer import Freezer
from homeport.node.processes import stat_fields

SPIN = ("/bin/sh", "-c", "while :; do :; done")
HIERARCHIES = {"version 1": ROOT / "freezer", "version 2 beside it": ROOT / "unified", "version 2": ROOT}


@pytest.fixture(params=HIERARCHIES)
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    base = HIERARCHIES[request.param]
    folder = base / f"homeport-test-{os.getpid()}"
    if not (base / "cgroup.procs").exists() or not os.access(base / "cgroup.procs", os.W_OK):
        pytest.skip(f"{base} is no group that we may write")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"{base}: {error.strerror}")
    yield folder
    folder.rmdir()


@pytest.fixture
def spinning(group: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that uses all the processor time that it gets, in the group."""
    with subprocess.Popen(SPIN) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        yield process
        if freezer := Freezer.at(group):
            freezer.ask(False)
        process.kill()


def ticks(process: "subprocess.Popen[bytes]") -> int:
    fields = stat_fields(process.pid)
    assert fields is not None
    return int(fields[11]) + int(fields[12])


async def test_a_frozen_group_rests_and_its_kernel_says_so(group: Path, spinning: "subprocess.Popen[bytes]") -> None:
    freezer = Freezer.at(group)
    assert freezer is not None and not freezer.asked and not freezer.rests
    freezer.ask(True)
    assert await freezer.settle(lambda: True)
    assert freezer.asked and freezer.rests
    before = ticks(spinning)
    subprocess.run(["/bin/sh", "-c", "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done"], check=True)  # some 0.2 s
    assert ticks(spinning) == before
    freezer.ask(False)
    assert not freezer.asked and not freezer.rests


async def test_who_does_not_want_it_any_more_does_not_wait(group: Path, spinning: "subprocess.Popen[bytes]") -> None:
    freezer = Freezer.at(group)
    assert freezer is not None
    assert not await freezer.settle(lambda: False)


async def test_a_killed_process_of_a_frozen_group_ends_at_the_latest_when_it_is_thawed(
    group: Path, spinning: "subprocess.Popen[bytes]"
) -> None:
    freezer = Freezer.at(group)
    assert freezer is not None
    freezer.ask(True)
    assert await freezer.settle(lambda: True)
    spinning.kill()
    freezer.ask(False)
    assert spinning.wait(timeout=30) == -signal.SIGKILL


def test_a_folder_that_is_no_group_has_no_freezer(tmp_path: Path) -> None:
    assert Freezer.at(tmp_path) is None
