"""Empties a directory whatever the modes and however deep the directories below it. Run as a script by the supervisor,
so that a unit's hundred thousand files do not hold up the node: `python remove.py DIRECTORY`. Imports nothing of ours.

A program may nest directories deeper than any path or recursion goes, so each one is first moved up.
"""

import os
import stat
import sys

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def empty(folder: str) -> None:
    """Remove everything in `folder`, also what is added meanwhile. What cannot be removed keeps nothing else; then the
    first OSError is raised at the end."""
    stays: dict[str, OSError] = {}
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while names := [name for name in os.listdir(here) if name not in stays]:
            for name in names:
                try:
                    _remove(name, here)
                except OSError as error:
                    stays[name] = error
    finally:
        os.close(here)
    if stays:
        raise next(iter(stays.values()))


def _remove(name: str, parent: int) -> None:
    if not _is_folder(name, parent):
        os.unlink(name, dir_fd=parent)
        return
    top = _open(name, parent)
    try:
        while names := os.listdir(top):
            for inside in names:
                _remove_shallow(inside, top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _remove_shallow(name: str, top: int) -> None:
    """Remove a file, or a directory after its own directories were moved up into `top`."""
    if not _is_folder(name, top):
        os.unlink(name, dir_fd=top)
        return
    folder = _open(name, top)
    try:
        for inside in os.listdir(folder):
            if _is_folder(inside, folder):
                os.close(_open(inside, folder))  # only who may write to it may move it
                os.rename(inside, os.urandom(16).hex(), src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(inside, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _open(name: str, parent: int) -> int:
    """A handle on the directory, with every right for its owner: overlayfs leaves one without any, programs may too."""
    handle = os.open(name, os.O_PATH | _FOLDER, dir_fd=parent)
    try:
        itself = f"/proc/self/fd/{handle}"
        os.chmod(itself, 0o700)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)


if __name__ == "__main__":
    try:
        empty(sys.argv[1])
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
