"""A machine that forbids user namespaces: nothing starts, and the one command that mends it is named."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can make a place where user namespaces are forbidden"
)

# Runs a command in a user namespace of its own in which no further one may be made: as if the machine forbade them.
FORBIDDING = textwrap.dedent(
    """
    import ctypes, os, sys
    told, tell = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        if ctypes.CDLL(None).unshare(0x10000000):
            os._exit(99)
        os.write(told[1], b"x")
        os.read(tell[0], 1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        with open("/proc/sys/user/max_user_namespaces", "w") as limit:
            limit.write("0")
        os.execv(sys.argv[1], sys.argv[1:])
    os.read(told[0], 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{child}/{name}", "w") as mapping:
            mapping.write("0 0 65536")
    os.write(tell[1], b"x")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
)


def forbidden(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from homeport.cli.main import run; run()", *words]
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDING, *command], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 99:
        pytest.skip("this machine lets nobody make a user namespace at all")
    return done


@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_up_refuses_with_the_cause_and_the_command_and_names_the_last_resort_last(
    tmp_path: Path, how: tuple[str, ...]
) -> None:
    done = forbidden("up", "--data", str(tmp_path / "data"), "--port", "18099", *how)
    assert done.returncode == 1
    cause = done.stderr.index("user.max_user_namespaces is 0")
    mend = done.stderr.index("sudo homeport host-setup --apply")
    last_resort = done.stderr.index("--insecure-no-sandbox")
    assert cause < mend < last_resort
    assert "Traceback" not in done.stderr


def test_doctor_and_host_setup_say_what_would_be_done(tmp_path: Path) -> None:
    doctor = forbidden("doctor", "--data", str(tmp_path / "data"))
    assert doctor.returncode == 1
    assert "BAD  sandbox" in doctor.stdout
    setup = forbidden("host-setup")
    assert setup.returncode == 0
    assert "user.max_user_namespaces = " in setup.stdout
