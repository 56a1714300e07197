"""The limit of open files: raised to the machine's by `up`, told by `doctor` where that is low."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from homeport.core.open_files import LOW, connections

BOUND_S = 60.0


def under(hard: int, *words: str) -> str:
    """What Python prints under a hard limit of open files, and a lower soft one."""
    script = f'ulimit -Sn 100 && ulimit -Hn {hard} && exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, *words], capture_output=True, text=True, timeout=BOUND_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_limit_is_raised_to_what_the_machine_allows_and_children_inherit_it() -> None:
    program = (
        "import subprocess; from homeport.core.open_files import raise_open_files; raise_open_files();"
        "print(subprocess.run(['/bin/sh', '-c', 'ulimit -Sn'], capture_output=True, text=True).stdout)"
    )
    assert under(2000, "-c", program).strip() == "2000"


@pytest.mark.parametrize(("hard", "ok"), [(4096, False), (LOW, True)])
def test_doctor_says_when_the_machine_allows_few_open_files(tmp_path: Path, hard: int, ok: bool) -> None:
    findings = json.loads(under(hard, "-m", "homeport.supervise.doctor", "--data", str(tmp_path)))
    (found,) = [finding for finding in findings if finding["what"] == "open files"]
    assert (found["ok"], found["needed"]) == (ok, False)
    assert found["found"] == f"{hard}: about {connections(hard)} connections at once"
    assert bool(found["mend"]) is not ok
