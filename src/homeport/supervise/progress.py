"""What `up` and `down` say while they work: a spinner and coloured lines on a terminal, plain lines elsewhere.

Given to the supervisor, which knows nothing of terminals.
"""

import contextlib
import sys
from typing import Any, Protocol, TextIO, cast

from homeport.core.clock import SystemClock

_SAID_AGAIN_S = 10.0  # a wait that does not change is mentioned so often where lines stay


class Progress(Protocol):
    """step: what is being waited for now. waiting: the same for a wait of bounded length, told again and again; `left`
    says how much of it is left. done: the step's end. say: a line that stays. warn: one that matters."""

    def step(self, text: str) -> None: ...

    def waiting(self, text: str, left: str) -> None: ...

    def done(self, text: str) -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def close(self) -> None: ...


class _Told:
    """Output of which what cannot be written (a full disk, a reader or a terminal that is gone) is dropped: what is
    told about goes on."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._output.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._output.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)


class PlainProgress:
    """One line an event on `output`, by default standard output, flushed at once: for logs, pipes and scripts."""

    def __init__(self, output: TextIO | None = None) -> None:
        self._output = _Told(output or sys.stdout)
        self._clock = SystemClock()
        self._said = ("", 0.0)

    def step(self, text: str) -> None:
        """Nothing: its end will be a line."""

    def waiting(self, text: str, left: str) -> None:
        said, at = self._said
        now = self._clock.monotonic()
        if text != said or now - at >= _SAID_AGAIN_S:
            self._said = (text, now)
            self._line(f"... {text}{left}")

    def done(self, text: str) -> None:
        self._line(f"ok  {text}")

    def say(self, text: str) -> None:
        self._line(text)

    def warn(self, text: str) -> None:
        self._line(f"!   {text}")

    def _line(self, text: str) -> None:
        print(text, file=self._output, flush=True)

    def close(self) -> None:
        """Nothing is open."""


class TerminalProgress:
    """A spinner with the present step; lines appear above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.text import Text

        self._text = Text  # texts may hold brackets, which are no markup
        self._console = Console(file=cast(TextIO, _Told(sys.stdout)), highlight=False)
        self._status = self._console.status("")
        self._spinning = False

    def step(self, text: str) -> None:
        self._status.update(text)
        if not self._spinning:
            self._status.start()
            self._spinning = True

    def waiting(self, text: str, left: str) -> None:
        self.step(text + left)

    def done(self, text: str) -> None:
        self._rest()
        self._console.print(self._text.assemble(("✓ ", "green"), text), soft_wrap=True)

    def say(self, text: str) -> None:
        self._rest()
        self._console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self._rest()
        self._console.print(self._text.assemble(("! ", "yellow"), text), soft_wrap=True)

    def close(self) -> None:
        self._rest()

    def _rest(self) -> None:
        if self._spinning:
            self._status.stop()
            self._spinning = False


def progress_here() -> Progress:
    """The form that suits standard output."""
    return TerminalProgress() if sys.stdout.isatty() else PlainProgress()
