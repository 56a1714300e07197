"""Keeps the logs of components below a bound, for those that do not do it themselves (`homeport.core.log`).

Called by the supervisor. Their writers hold the file open for appending, so it cannot be renamed while they run.
"""

import ctypes
import errno
import logging
import os
from pathlib import Path

from homeport.core import log as logs

log = logging.getLogger(__name__)

_COLLAPSE_RANGE = 0x08  # FALLOC_FL_COLLAPSE_RANGE of linux/falloc.h
_BLOCK_BYTES = 1024 * 1024


def bound_idle_log(path: Path) -> None:
    """Move a grown log aside; nobody writes to it now."""
    try:
        if path.stat().st_size > logs.LOG_BYTES:
            os.replace(path, logs.previous(path))
    except FileNotFoundError:
        return  # nothing written yet
    except OSError as exc:
        log.warning("cannot bound %s: %s", path, exc)


def bound_written_log(path: Path) -> None:
    """Move the grown part of a log aside while its writer goes on. What it writes meanwhile stays. On a file system
    that cannot cut a file's beginning off (ext4 and xfs can) the file is emptied instead, and lines that come between
    the copy and that are lost."""
    try:
        size = path.stat().st_size
        if size <= logs.LOG_BYTES:
            return
        with path.open("r+b") as file:
            block = os.fstatvfs(file.fileno()).f_bsize
            # Whole blocks can be cut off, and never all of the file.
            length = (size - 1) // block * block
            _copy(path, logs.previous(path), length)
            if not _cut_beginning(file.fileno(), length):
                file.truncate(0)
    except FileNotFoundError:
        return
    except OSError as exc:
        log.warning("cannot bound %s: %s", path, exc)


def _copy(path: Path, target: Path, length: int) -> None:
    with path.open("rb") as source, target.open("wb") as kept:
        while length and (block := source.read(min(length, _BLOCK_BYTES))):
            kept.write(block)
            length -= len(block)


def _cut_beginning(fd: int, length: int) -> bool:
    """Whether the file system did it."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.fallocate(fd, _COLLAPSE_RANGE, ctypes.c_int64(0), ctypes.c_int64(length))
    if done != 0 and (number := ctypes.get_errno()) not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number))
    return bool(done == 0)
