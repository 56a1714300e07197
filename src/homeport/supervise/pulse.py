"""Whether a living component still answers: one that hangs (stopped by a signal, caught in a loop) dies for nobody.

A thread for each component asks a question and waits for the answer as long as it takes; the supervisor reads how long
it has waited. Decides nothing.
"""

import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ASK_EVERY_S = 5.0
_SLICE_S = 1.0  # waits are counted in these, not by a clock: a machine that was suspended has not waited


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What any living component answers at once, on its unix socket."""

    socket: Path
    text: bytes


class Pulse:
    """Asks for ever, in a thread of its own. `silent_s`: for how long the present question has had no answer."""

    def __init__(self, name: str, question: Question) -> None:
        self.silent_s = 0.0
        self._question = question
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"pulse of {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask no more. The thread ends with its present wait."""
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.wait(ASK_EVERY_S):
            self._ask()
            self.silent_s = 0.0

    def _ask(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SLICE_S)
            try:
                # Nobody listens, or nobody any more: it starts or has died, which others see to.
                if self._patiently(lambda: connection.connect(str(self._question.socket))):
                    connection.sendall(self._question.text)
                    self._patiently(lambda: self._answer(connection))
            except OSError:
                return

    def _answer(self, connection: socket.socket) -> None:
        readable = select.poll()  # not `select`, which knows no handle above 1023: `up` holds every program's pipes
        readable.register(connection, select.POLLIN)
        if not readable.poll(_SLICE_S * 1000):
            raise TimeoutError

    def _patiently(self, wait: Callable[[], None]) -> bool:
        """Repeat a wait of a slice until it succeeds. False when asked to stop."""
        while not self._stopped.is_set():
            try:
                wait()
                return True
            except BlockingIOError:  # its queue of connections is full
                self._stopped.wait(_SLICE_S)
            except TimeoutError:
                pass
            self.silent_s += _SLICE_S
        return False
