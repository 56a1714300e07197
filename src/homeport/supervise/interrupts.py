"""Signals that ask the supervisor to stop, made visible to `poll`. One object per process, in the main thread."""

import signal
import socket
from types import FrameType

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Counts the requests to stop: the first stops in order, a second one hurries."""

    def __init__(self) -> None:
        self.count = 0
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def install(self) -> None:
        """Take over SIGINT, SIGTERM and SIGHUP of this process."""
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in _ASKING:
            signal.signal(number, self._note)

    def fileno(self) -> int:
        """Readable, for poll, after a signal came; `clear` makes it quiet again."""
        return self._read.fileno()

    def clear(self) -> None:
        try:
            while self._read.recv(64):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Give its descriptors back. Signals must not have been taken over."""
        self._read.close()
        self._write.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
