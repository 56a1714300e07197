"""What `up` and `down` say while they work: a spinner and coloured lines on a terminal, plain lines elsewhere.

Given to the supervisor, which knows nothing of terminals.
"""

import sys
from typing import Protocol


class Progress(Protocol):
    """step: what is being waited for now. done: the step's end. say: a line that stays. warn: one that matters."""

    def step(self, text: str) -> None: ...

    def done(self, text: str) -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def close(self) -> None: ...


class PlainProgress:
    """One line an event on standard output, flushed at once: for logs, pipes and scripts."""

    def step(self, text: str) -> None:
        """Nothing: its end will be a line."""

    def done(self, text: str) -> None:
        print(f"ok  {text}", flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)

    def warn(self, text: str) -> None:
        print(f"!   {text}", flush=True)

    def close(self) -> None:
        """Nothing is open."""


class TerminalProgress:
    """A spinner with the present step; lines appear above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.text import Text

        self._text = Text  # texts may hold brackets, which are no markup
        self._console = Console(highlight=False)
        self._status = self._console.status("")
        self._spinning = False

    def step(self, text: str) -> None:
        self._status.update(text)
        if not self._spinning:
            self._status.start()
            self._spinning = True

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
