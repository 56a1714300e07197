"""The text of a Dockerfile, with our labels in it. Pure; the engine parses and runs it.

Labels after each FROM are on every layer that a build of ours leaves on the engine: by them the cache is told from what
is somebody else's, and no workspace is served from another's. Labels at the end are on the finished image only.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from homeport.core.errors import Invalid

NAME = "Dockerfile"
FILE_BYTES = 1024 * 1024  # one written by people has some kilobytes

_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)\s*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*[A-Za-z][A-Za-z0-9]*\s*=")
_HEREDOC = re.compile(r"<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_]*)\2")
_TAKES_HEREDOC = re.compile(r"\s*(ONBUILD\s+)?(RUN|COPY|ADD)\s", re.IGNORECASE)
_FROM = re.compile(r"\s*FROM\s", re.IGNORECASE)
_END = re.compile(r"[\\`][ \t]*$")  # of a line that is continued: the word itself may be
_LINE = re.compile(r"\bline (\d+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """text: for the engine. added: numbers of its lines that are ours, from 1 on. steps: how many instructions they
    are."""

    text: str
    added: tuple[int, ...]

    @property
    def steps(self) -> int:
        return len(self.added)

    def as_written(self, message: str) -> str:
        """An engine's message with the numbers of lines that the Dockerfile has without ours."""
        return _LINE.sub(lambda found: f"line {self._written(int(found[1]))}", message)

    def _written(self, line: int) -> int:
        return line - sum(1 for ours in self.added if ours < line)


def labelled(text: str, layers: Mapping[str, str], image: Mapping[str, str]) -> Labelled:
    """`text` with the labels `layers` after each FROM and `image` at the end. Raises `Invalid` for one without FROM."""
    lines: list[str] = []
    added: list[int] = []

    def add(labels: Mapping[str, str]) -> None:
        words = " ".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
        lines.append(f"LABEL {words}")
        added.append(len(lines))

    for instruction in _instructions(_lines_of(text)):
        lines += instruction
        if _FROM.match("".join(_END.sub("", line) for line in instruction if not _is_idle(line))):
            add(layers)
    if not added:
        raise Invalid(NAME, "must hold an instruction FROM")
    add(image)
    return Labelled(text="\n".join(lines) + "\n", added=tuple(added))


def _lines_of(text: str) -> list[str]:
    """As engines see them, who know no other ends of lines than these two."""
    return [line.removesuffix("\r") for line in text.removeprefix("\ufeff").removesuffix("\n").split("\n")]


def _instructions(lines: list[str]) -> Iterator[list[str]]:
    """The lines of each instruction, with what continues it; comments and blank lines each alone."""
    escape = re.escape(_escape(lines))
    continues = re.compile(rf"(?:^|[^{escape}]){escape}[ \t]*$")
    at = 0
    while at < len(lines):
        end, more = at + 1, None
        if not _is_idle(lines[at]):
            more = continues.search(lines[at])
            while more and end < len(lines):
                if not _is_idle(lines[end]):
                    more = continues.search(lines[end])
                end += 1
            end = _after_heredocs(lines, at, end)
        found = lines[at:end]
        yield _ended(found) if more else found
        at = end


def _ended(lines: list[str]) -> list[str]:
    """The last instruction of a file that ends in the middle of it: what we write behind it must not continue it."""
    ended = [*lines]
    for at in reversed(range(len(ended))):
        if not _is_idle(ended[at]):
            ended[at] = ended[at].rstrip()[:-1]
        if not _is_idle(ended[at]):  # else that line was nothing but the sign, and an earlier one goes on still
            break
    return ended


def _after_heredocs(lines: list[str], at: int, end: int) -> int:
    """Where the instruction in lines `at` to `end` is over, its here-documents included."""
    if not _TAKES_HEREDOC.match(lines[at]):
        return end
    for dash, _, word in _HEREDOC.findall("\n".join(lines[at:end])):
        while end < len(lines):
            line, end = lines[end], end + 1
            if (line.lstrip("\t") if dash else line) == word:
                break
    return end


def _escape(lines: list[str]) -> str:
    """What continues a line: a backslash, unless a directive on top says otherwise."""
    for line in lines:
        if found := _ESCAPE.match(line.strip()):
            return found[1]
        if not _DIRECTIVE.match(line.strip()):
            break
    return "\\"


def _is_idle(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
