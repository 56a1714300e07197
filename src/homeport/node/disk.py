"""What the node asks of the disk: blocks set aside for what must be written even when the disk is full, and which
errors mean that the machine has run out of something for a while. Used by the journal, the launcher and the logs.
"""

import ctypes
import errno
import fcntl
import os
from pathlib import Path

from homeport.core.private import replace_text

BLOCK_BYTES = 64 * 1024  # a multiple of every usual file system's
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_PASSING = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS,
}  # fmt: skip


def is_passing(error: OSError) -> bool:
    """Whether the machine lacks something now (space, handles, memory, tasks, a writable disk), so that the same may
    succeed later. Anything else would be the same again."""
    return error.errno in _PASSING


def set_aside(handle: int, end: int) -> bool:
    """Have blocks for the file up to byte `end`, without changing its size. False when the disk has none left; a file
    system that cannot set anything aside is left as it is."""
    if _libc.fallocate(handle, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(end)) == 0:
        return True
    return ctypes.get_errno() not in (errno.ENOSPC, errno.EDQUOT)


def replace(path: Path, text: str) -> None:
    """Have `path` hold `text`, all of it or what it held before. Raises OSError."""
    if path.exists() and path.read_text() == text:
        return
    replace_text(path, text, path.with_name(path.name + ".new"))


def write_all(handle: int, data: bytes) -> None:
    """Raises OSError when not everything could be written; part of it may be."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def punch(handle: int, start: int, end: int) -> bool:
    """Give the blocks of the file between two bytes back to the disk; its size stays."""
    flags = _KEEP_SIZE | _PUNCH_HOLE
    return bool(_libc.fallocate(handle, flags, ctypes.c_int64(start), ctypes.c_int64(end - start)) == 0)


def pipe_capacity(handle: int) -> int:
    """How many bytes the pipe may hold."""
    return int(fcntl.fcntl(handle, fcntl.F_GETPIPE_SZ))
