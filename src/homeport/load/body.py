"""The check of one answer's body, piece by piece: nothing of it is kept but a part of a line."""

import hashlib
import re

from homeport.load.plan import Expectation

_NUMBER = re.compile(rb"\d+")
_LINE_MAX = 64 * 1024  # a longer one is no line of numbers, and keeping it would have no bound


class Body:
    """Counts what comes, and says what is wrong with it."""

    def __init__(self, expect: Expectation) -> None:
        self.size = 0
        self._expect = expect
        self._hash = hashlib.sha256() if expect.sha256 is not None else None
        self._by_line = expect.numbered or expect.lines is not None
        self._rest = b""
        self._lines = 0
        self._next: int | None = None
        self._wrong = ""

    def feed(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._hash is not None:
            self._hash.update(piece)
        if self._by_line and not self._wrong:
            *lines, self._rest = (self._rest + piece).split(b"\n")
            for line in lines:
                self._line(line)
            if len(self._rest) > _LINE_MAX:
                self._wrong = f"a line of more than {_LINE_MAX} bytes after line {self._lines}"

    def wrong(self) -> str:
        """What is wrong with the body now that it has ended; empty when nothing is."""
        if self._by_line and not self._wrong:
            self._line(self._rest)
            self._rest = b""
        expect = self._expect
        if self._wrong:
            return self._wrong
        if expect.lines is not None and self._lines != expect.lines:
            return f"{self._lines} lines in place of {expect.lines}"
        if expect.size is not None and self.size != expect.size:
            return f"{self.size} bytes in place of {expect.size}"
        if self._hash is not None and self._hash.hexdigest() != expect.sha256:
            return f"SHA-256 {self._hash.hexdigest()} in place of {expect.sha256}"
        return ""

    def _line(self, line: bytes) -> None:
        if self._wrong or not line.strip():
            return
        self._lines += 1
        if not self._expect.numbered:
            return
        found = _NUMBER.search(line)
        if found is None:
            self._wrong = f"line {self._lines} has no number: {line[:60]!r}"
            return
        number = int(found.group()[:30])
        allowed = (0, 1) if self._next is None else (self._next,)
        if number not in allowed:
            due = " or ".join(map(str, allowed))
            what = "doubled or out of order" if self._next is not None and number < self._next else "missing"
            self._wrong = f"line {self._lines} is number {number} in place of {due}: {what}"
        self._next = number + 1
