"""A program of another installation is not ours, even where both directories have the same path on a file system of
their own. In a mount namespace of its own, which takes all that is mounted with it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
set -e
for name in a b; do
    mkdir -p "$1/$name"
    mount -t tmpfs none "$1/$name"
    mkdir -p "$1/$name/units/one/home"
done
mkdir "$1/seen"
unshare --mount sh -c 'mount --bind "$1/a/units/one/home" "$1/seen"; echo up; exec sleep 60' sh "$1" > "$1/started" &
trap "kill $!" EXIT
while ! grep -q up "$1/started"; do kill -0 $!; done
"$2" -c '
import sys
from pathlib import Path
from homeport.leaks.machine import processes
for name in ("a", "b"):
    seen = processes("no-such-group", Path(sys.argv[1], name, "units"))
    print(name, {one.unit for one in seen if one.unit is not None})
' "$1"
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="this user may not mount file systems in a namespace of its own")
def test_a_program_on_another_file_system_is_not_ours(tmp_path: Path) -> None:
    command = ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "a {'one'}\nb set()\n", done.stderr
