"""How much units wrote to the disk. Run as a script by the node, since a walk through many files would hold it up: it
reads `[{"unit", "folders", "pids", "places"}]` (JSON), writes `{unit: [bytes, files]}`, and imports nothing of ours.
places: what the names of its open files begin with that are on the disk.

Files that were removed while open or mapped count, too, or a program could fill the disk with them; but mapped ones
are shown to root only, and none are seen that are on their way from one process to another.
"""

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterable, Iterator

BLOCK_BYTES = 512  # the unit of st_blocks
LONG_PATH = 3000  # bytes at least; the kernel takes 4096, and a program can nest directories deeper than that
FILES_MOST = 1_000_000  # of a unit, written or in use: a file system has a limited number, and a count takes its time
_IN_MEMORY = ("/dev/", "/memfd:", "/SYSV")  # as Linux names shared memory among open and mapped files
_CLONE_NEWUSER = 0x10000000


def written(folders: Iterable[str]) -> list[int]:
    """Bytes and entries in all of `folders`. What vanishes meanwhile does not count, and a file that has several names
    there is one file."""
    total = [0, 0]
    named: set[tuple[int, int]] = set()  # no more than entries are counted before the unit is ended
    waiting: list[str | int] = [*folders]
    while waiting:
        place = waiting.pop()
        if isinstance(place, int):  # what was reached through it is counted
            os.close(place)
            continue
        if len(place) > LONG_PATH:
            with contextlib.suppress(OSError):
                waiting.append(handle := os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
                place = f"/proc/self/fd/{handle}"
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink == 1 or entry.is_dir(follow_symlinks=False) or _is_new(found, named):
                        total[0] += found.st_blocks * BLOCK_BYTES
                    total[1] += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


def _is_new(found: os.stat_result, named: set[tuple[int, int]]) -> bool:
    key = (found.st_dev, found.st_ino)
    if key in named:
        return False
    named.add(key)
    return True


def removed(pids: Iterable[int], places: tuple[str, ...]) -> list[int]:
    """Bytes of files that were removed from below `places`, but for those in memory, and are in use in one of `pids`,
    each once, and how many things in use were looked at: no more than a unit may have of files."""
    found: dict[tuple[int, int], int] = {}
    looked = 0
    for handle in (handle for pid in pids for handle in _in_use(pid)):
        looked += 1
        if looked > FILES_MOST:
            break
        with contextlib.suppress(OSError):
            name = os.readlink(handle)
            if not name.startswith(places) or (name.startswith(_IN_MEMORY) and "/" in places):
                continue
            file = os.stat(handle)
            if file.st_nlink == 0:
                found[file.st_dev, file.st_ino] = file.st_blocks * BLOCK_BYTES
    return [sum(found.values()), looked]


def _in_use(pid: int) -> Iterator[str]:
    """Links to what a process has open, each of its threads for itself, or has mapped."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                yield from (f"/proc/{pid}/task/{task}/fd/{name}" for name in os.listdir(f"/proc/{pid}/task/{task}/fd"))
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as maps:
        for line in maps:
            if line.endswith(b" (deleted)\n"):
                begin, end = line.split(b" ", 1)[0].split(b"-")
                yield f"/proc/{pid}/map_files/{int(begin, 16):x}-{int(end, 16):x}"


def see_everything() -> None:
    """Be root of a user namespace of our own, who may look into what its user has closed. Where that is forbidden,
    closed directories do not count."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 or ctypes.CDLL(None).unshare(_CLONE_NEWUSER) != 0:
        return
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
            file.write(text)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    os.nice(5)
    in_use = {one["unit"]: removed(one["pids"], (*one["places"], *one["folders"])) for one in asked}
    see_everything()
    answer = {}
    for one in asked:
        size, files = written(one["folders"])
        removed_size, looked = in_use[one["unit"]]
        answer[one["unit"]] = [size + removed_size, max(files, looked)]
    json.dump(answer, sys.stdout)
