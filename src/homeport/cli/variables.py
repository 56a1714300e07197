"""Variables that the command line reads: words such as K=V, files of such lines, and their use in manifests.

The notation is that of the public command line: `$K`, `${K}`, `${K:default}`, and the same with `secrets.` before the
name. A name in the environment wins over one from a file or an option, and either over the default.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from homeport.core.errors import Invalid
from homeport.core.logins import parse_docker_config

_REFERENCE = re.compile(r"\$\{(?:secrets\.)?([A-Za-z_]\w*)(?::([^}\n]*))?\}|\$(?:secrets\.)?([A-Za-z_]\w*)")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][\w.-]*)\s*=\s*(.*)")
_FILE_BYTES = 1024 * 1024
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolated:
    """A text with its references replaced. unset: the names that nothing gives a value, left as they were written."""

    text: str
    unset: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The value of one variable. secret: it came from what nobody is shown again. unset: the name that it refers to
    and that nothing gives a value."""

    text: str = field(repr=False)
    secret: bool = False
    unset: str = ""


def resolve(text: str, secrets: Mapping[str, str]) -> Value:
    """`text` where it is one reference as a whole, as the public command line has it; any other text as it is."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return Value(text=text)
    name = found[1] or found[3]
    if name in os.environ:
        return Value(text=os.environ[name], secret="secrets." in text.partition(name)[0])
    if name in secrets:
        return Value(text=secrets[name], secret=True)
    return Value(text=text if found[2] is None else found[2], unset=name if found[2] is None else "")


def interpolate(text: str, given: Mapping[str, str]) -> Interpolated:
    """Replace the references in `text` by the environment's values, else by `given`, else by their defaults."""
    unset: dict[str, None] = {}

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        known = os.environ.get(name, given.get(name, found[2]))
        if known is None:
            unset[name] = None
            return found[0]
        return known

    return Interpolated(text=_REFERENCE.sub(value, text), unset=tuple(unset))


def interpolate_lines(text: str, given: Mapping[str, str]) -> Interpolated:
    """As `interpolate`, for a YAML or JSON document: comments stay as they are, and a value may not break its line,
    since it would become structure. Raises `Invalid`."""
    lines, unset = [], dict[str, None]()
    for line in text.split("\n"):
        if line.lstrip().startswith("#") or "$" not in line:
            lines.append(line)
            continue
        done = interpolate(line, given)
        if "\n" in done.text or "\r" in done.text:
            names = ", ".join(name for name in _names(line) if "\n" in os.environ.get(name, given.get(name, "")))
            raise Invalid(names or "variable", "holds a line break, so it cannot stand in a manifest")
        lines.append(done.text)
        unset |= dict.fromkeys(done.unset)
    return Interpolated(text="\n".join(lines), unset=tuple(unset))


def read_words(words: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE words as variables; the later of two wins. Raises `Invalid`, which never repeats a value."""
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Invalid(option, "must be NAME=VALUE", value=name or None)
        variables[name] = value
    return variables


def read_files(paths: Sequence[Path], option: str = "--env-file") -> dict[str, str]:
    """The variables in files of NAME=VALUE lines; the later of two wins. Raises `Invalid`."""
    variables: dict[str, str] = {}
    for path in paths:
        for number, line in enumerate(_text(path, option).splitlines(), start=1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            found = _LINE.fullmatch(stripped)
            if found is None:
                raise Invalid(f"{option} {path}, line {number}", "must be NAME=VALUE, a comment or empty")
            variables[found[1]] = _value(found[2], f"{option} {path}, line {number}")
    return variables


def read_docker_config(path: Path, option: str) -> str:
    """The text of a file with logins of registries. Raises `Invalid`, which repeats none."""
    text = _text(path, option)
    parse_docker_config(text, f"{option} {path}", source=str(path))
    return text


def _names(line: str) -> list[str]:
    return [found[1] or found[3] for found in _REFERENCE.finditer(line)]


def _text(path: Path, option: str) -> str:
    try:
        if path.stat().st_size > _FILE_BYTES:
            raise Invalid(option, f"may have {_FILE_BYTES} bytes at most", value=str(path))
        return path.read_text()
    except OSError as exc:
        raise Invalid(option, f"cannot be read: {exc.strerror}", value=str(path)) from exc
    except UnicodeDecodeError as exc:
        raise Invalid(option, "is not text in UTF-8", value=str(path)) from exc


def _value(written: str, where: str) -> str:
    """A value as shells and the usual libraries read such files: quoted whole, or bare up to a comment."""
    quote = written[:1]
    if quote not in ("'", '"'):
        return re.split(r"\s#", written, maxsplit=1)[0].strip()
    found = re.fullmatch(r"""'([^']*)'\s*(?:#.*)?|"((?:[^"\\]|\\.)*)"\s*(?:#.*)?""", written)
    if found is None:
        raise Invalid(where, "must close the quote that it opens on the same line")
    if quote == "'":
        return found[1]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), found[2])
