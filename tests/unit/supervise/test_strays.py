"""Components that an `up` started and could not write down are found by the next one."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeport.settings import DataDir
from homeport.supervise.processes import identify
from homeport.supervise.state import UpState
from homeport.supervise.strays import with_strays

Begin = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """A process with the command of a component, which only sleeps."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(part: str, data: Path, *, session: bool = True) -> "subprocess.Popen[bytes]":
        program = "import time; print(flush=True); time.sleep(600)"
        command = [sys.executable, "-c", program, f"homeport.{part}", "--data", str(data)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=session)
        begun.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def test_a_component_that_was_not_written_down_is_found(begin: Begin, tmp_path: Path) -> None:
    edge = begin("edge", tmp_path)
    dead = begin("edge", tmp_path / "x")
    written = identify(dead.pid)
    dead.kill()
    dead.wait()
    found = with_strays(DataDir(tmp_path), UpState().with_component("edge", written, "one"))
    assert found.components == {"edge": identify(edge.pid)}
    assert found.versions == {"edge": "one"}
    assert with_strays(DataDir(tmp_path), UpState()).versions == {"edge": ""}, "of what is not known nothing is claimed"


def test_what_is_written_down_and_lives_stays(begin: Begin, tmp_path: Path) -> None:
    edge, _second = begin("edge", tmp_path), begin("edge", tmp_path)
    before = UpState().with_component("edge", identify(edge.pid), "one")
    assert with_strays(DataDir(tmp_path), before) == before


def test_neither_another_directorys_nor_a_child_of_one_is_a_component(begin: Begin, tmp_path: Path) -> None:
    begin("node", tmp_path / "other")
    begin("node", tmp_path, session=False)
    assert with_strays(DataDir(tmp_path), UpState()) == UpState()
