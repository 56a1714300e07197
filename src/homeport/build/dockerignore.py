"""`.dockerignore`: which files of a folder are no part of a build's context, by the rules of Docker's clients. Pure.

A line is a pattern from the root of the context: `*` and `?` stay within one name, `[a-z]` is one character, `**` is
any number of directories, a leading `!` takes back. The last line that fits a path, or a directory above it, decides.
"""

import re
from dataclasses import dataclass
from posixpath import normpath

from homeport.core.errors import Invalid

NAME = ".dockerignore"
_LINES_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Ignore:
    """rules: each with whether it takes back."""

    rules: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @property
    def takes_back(self) -> bool:
        return any(takes_back for _, takes_back in self.rules)

    def excludes(self, path: str) -> bool:
        """Whether `path`, relative and with slashes, is left out."""
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        out = False
        for rule, takes_back in self.rules:
            if out == takes_back and any(rule.fullmatch(one) for one in above):
                out = not takes_back
        return out


def read_ignore(text: str) -> Ignore:
    """Raises `Invalid` naming the line that is no pattern."""
    lines = text.removeprefix("\ufeff").splitlines()
    if len(lines) > _LINES_MOST:
        raise Invalid(NAME, f"may have {_LINES_MOST} lines at most", value=len(lines))
    rules = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        takes_back = line.strip().startswith("!")
        pattern = line.strip().removeprefix("!").strip()
        cleaned = normpath(pattern).lstrip("/") if pattern else ""
        if not cleaned:
            raise Invalid(NAME, f"must have a pattern in line {number}", value=line)
        if cleaned == ".":
            continue  # the context itself, which nothing leaves out
        rules.append((_compiled(cleaned, number), takes_back))
    return Ignore(tuple(rules))


def _compiled(pattern: str, number: int) -> re.Pattern[str]:
    found, at = "", 0
    while at < len(pattern):
        sign = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if at == len(pattern):
                found += ".*"
            else:
                at += pattern.startswith("/", at)
                found += "(?:.*/)?"
            continue
        if sign == "[":
            end = pattern.find("]", at + 2)
            if end < 0:
                raise Invalid(NAME, f"must close the bracket in line {number}", value=pattern)
            inside = pattern[at + 1 : end].replace("\\", "\\\\")
            found += f"[{inside}]"
            at = end + 1
            continue
        if sign == "\\" and at + 1 < len(pattern):
            at += 1
            found += re.escape(pattern[at])
        else:
            found += {"*": "[^/]*", "?": "[^/]"}.get(sign) or re.escape(sign)
        at += 1
    try:
        return re.compile(found, re.DOTALL)
    except re.error as exc:
        raise Invalid(NAME, f"must have a pattern in line {number}: {exc}", value=pattern) from exc
