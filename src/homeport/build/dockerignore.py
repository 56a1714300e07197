"""`.dockerignore`: which files of a folder are no part of a build's context, by the rules of Docker's clients. Pure.

A line is a pattern from the root of the context: `*` and `?` stay within one name, `[a-z]` is one character, `**` is
any number of directories, a leading `!` takes back. The last line that fits a path, or a directory above it, decides.

Patterns come from strangers, and an expression that goes back and forth holds up the whole server. So each name is
matched by an expression that goes back nowhere, and names in a row only to the last `**`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from posixpath import normpath

from homeport.core.errors import Invalid

NAME = ".dockerignore"
LINES_MOST = 1000  # people write tens; each is compared with each file

Rule = tuple[re.Pattern[str] | None, ...]  # for each name in a path; None for any number of directories


@dataclass(frozen=True, slots=True)
class Ignore:
    """rules: each with whether it takes back."""

    rules: tuple[tuple[Rule, bool], ...] = ()

    @property
    def takes_back(self) -> bool:
        return any(takes_back for _, takes_back in self.rules)

    def fitting(self, path: str, above: frozenset[int] = frozenset()) -> frozenset[int]:
        """The places of the rules that fit `path`, relative and with slashes, or, as `above` says, its directory."""
        parts = path.split("/")
        own = {place for place, (rule, _) in enumerate(self.rules) if place not in above and _fits(rule, parts)}
        return above | own if own else above

    def excludes(self, fitting: frozenset[int]) -> bool:
        """Whether a path that these rules fit is left out."""
        return bool(fitting) and not self.rules[max(fitting)][1]


def read_ignore(text: str) -> Ignore:
    """Raises `Invalid` naming the line that is no pattern."""
    lines = text.removeprefix("\ufeff").splitlines()
    if len(lines) > LINES_MOST:
        raise Invalid(NAME, f"may have {LINES_MOST} lines at most", value=len(lines))
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
        rules.append((tuple(_rule(cleaned, number)), takes_back))
    return Ignore(tuple(rules))


def _fits(rule: Rule, parts: Sequence[str]) -> bool:
    at = place = 0
    again: tuple[int, int] | None = None  # after the last `**`, and from which name on
    while place < len(parts):
        one = rule[at] if at < len(rule) else None
        if at < len(rule) and one is None:
            again = at, place = at + 1, place
        elif one is not None and one.fullmatch(parts[place]):
            at, place = at + 1, place + 1
        elif again is not None:
            again = at, place = again[0], again[1] + 1
        else:
            return False
    return at == len(rule)


def _rule(pattern: str, number: int) -> Iterator[re.Pattern[str] | None]:
    names = pattern.split("/")
    for at, name in enumerate(names):
        is_last = at == len(names) - 1
        rest = name
        while rest.startswith("**"):
            yield None
            rest = rest[2:]
        if is_last and rest.endswith("**"):
            rest = rest.rstrip("*") + "*"  # what is in there goes with its directory
        if "**" in rest:
            raise Invalid(NAME, f"may have ** at the begin of a name only, in line {number}", value=pattern)
        if rest or is_last:
            yield _name(rest or "*", number, pattern)


def _name(text: str, number: int, pattern: str) -> re.Pattern[str]:
    pieces, at = [""], 0
    while at < len(text):
        sign = text[at]
        if sign == "*":
            pieces.append("")
        elif sign == "[":
            end = text.find("]", at + 2)
            if end < 0:
                raise Invalid(NAME, f"must close the bracket in line {number}", value=pattern)
            inside = text[at + 1 : end].replace("\\", "\\\\")
            pieces[-1] += f"[{inside}]"
            at = end
        elif sign == "\\" and at + 1 < len(text):
            at += 1
            pieces[-1] += re.escape(text[at])
        else:
            pieces[-1] += "." if sign == "?" else re.escape(sign)
        at += 1
    first, *middle, last = pieces if len(pieces) > 1 else [pieces[0], ""]
    # What stands between two stars is taken where it comes first: the next star takes any of the rest.
    found = first + "".join(f"(?>.*?{piece})" for piece in middle) + (f".*{last}" if len(pieces) > 1 else "")
    try:
        return re.compile(found, re.DOTALL)
    except re.error as exc:
        raise Invalid(NAME, f"must have a pattern in line {number}: {exc}", value=pattern) from exc
