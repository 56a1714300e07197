"""`homeport down` beside another one: what is under way keeps its time."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from homeport.core.errors import Conflict
from homeport.settings import DataDir
from homeport.supervise.down import down
from homeport.supervise.drain import RealPlant
from homeport.supervise.processes import identify
from homeport.supervise.progress import PlainProgress
from homeport.supervise.state import Lock, UpState, write_state

ASKED = 7
# Ends by itself after a while, or at once with another code when it is asked.
STOPPING = f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({ASKED}))
print(flush=True)
time.sleep(2)
"""


@pytest.mark.parametrize(
    ("under_way", "drain_s", "code"), [(False, None, ASKED), (True, None, 0), (True, 60.0, 0), (True, 0.0, ASKED)]
)
def test_a_second_down_waits_with_the_first_unless_it_gives_no_time(
    tmp_path: Path, under_way: bool, drain_s: float | None, code: int
) -> None:
    data = DataDir(tmp_path)
    data.create()
    with subprocess.Popen([sys.executable, "-c", STOPPING], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        state = UpState(supervisor=identify(process.pid))
        write_state(data, replace(state, stopping={}) if under_way else state)
        down(data, PlainProgress(), RealPlant(data), drain_s)
        assert process.wait(10) == code


def test_a_down_beside_a_command_that_has_the_directory_does_not_say_that_nothing_runs(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.create()
    write_state(data, UpState())
    other = Lock(data.lock)
    assert other.take()
    with pytest.raises(Conflict, match="Another command starts or stops"):
        down(data, PlainProgress(), RealPlant(data))
    other.release()
    assert down(data, PlainProgress(), RealPlant(data)) is None
