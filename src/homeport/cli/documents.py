"""Manifests: YAML or JSON files, directories of them, or standard input, as resources of the API.

Used by `apply` and `delete -f`. Everything is read and understood before anything is sent; what it means is checked by
the server.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.cli.options import SPELLINGS, unserved_kind
from homeport.cli.output import warn
from homeport.cli.variables import interpolate_lines
from homeport.core.errors import Invalid
from homeport.core.ids import WRITTEN, Kind, check_name

_SUFFIXES = (".yaml", ".yml", ".json")
_FILE_BYTES = 16 * 1024 * 1024  # the most that one request may carry


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One resource of a file. kind: None for a kind of the contract that this version does not serve; `written` is
    its name in the file. where: file and number, for messages;
    empty where it was named on the command line."""

    kind: Kind | None
    written: str
    name: str
    resource: dict[str, Any]
    where: str


def read_documents(paths: Sequence[Path], *, recursive: bool, given: Mapping[str, str]) -> list[Document]:
    """The resources of all files, policies and volumes first, since the others may need them; otherwise in their order.
    `given`: variables besides the environment's. Raises `Invalid` if one of them is not understood."""
    found: list[Document] = []
    for path in paths:
        for file in _files(path, recursive):
            found += _parsed(file, given)
    if not found:
        raise Invalid("-f", "holds no resource", value=", ".join(map(str, paths)))
    return sorted(found, key=_turn)


def _turn(document: Document) -> int:
    """What others may need goes first."""
    return {Kind.POLICY: 0, Kind.VOLUME: 1}.get(document.kind or Kind.JOB, 2)


def _files(path: Path, recursive: bool) -> Iterator[Path]:
    if str(path) == "-" or not path.is_dir():
        yield path
        return
    pattern = "**/*" if recursive else "*"
    files = sorted(file for file in path.glob(pattern) if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        deeper = "" if recursive else " Deeper folders are read with -R."
        raise Invalid("-f", f"holds no file that ends in {', '.join(_SUFFIXES)}", value=str(path), hint=deeper.strip())
    yield from files


def _parsed(path: Path, given: Mapping[str, str]) -> list[Document]:
    import yaml

    shown = "standard input" if str(path) == "-" else str(path)
    text = _text(path)
    done = interpolate_lines(text, given)
    for name in done.unset:
        warn(f"{shown}: ${name} has no value and is sent as it is written.")
    try:
        loaded = [item for item in yaml.safe_load_all(done.text) if item is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise Invalid(shown, f"is neither YAML nor JSON{_place(exc)}") from None
    flat = [item for document in loaded for item in (document if isinstance(document, list) else [document])]
    several = len(flat) > 1
    return [_document(item, f"{shown}, document {n}" if several else shown) for n, item in enumerate(flat, start=1)]


def _document(item: object, where: str) -> Document:
    if not isinstance(item, dict) or not isinstance(item.get("kind"), str):
        raise Invalid(where, "must be an object with kind, metadata and spec", hint="Such as `kind: Policy`.")
    written = item["kind"]
    kind = SPELLINGS.get(written.lower())
    if kind is None and unserved_kind(written) is None:
        names = ", ".join(known.value.capitalize() for known in WRITTEN)
        raise Invalid(f"{where}: kind", f"must be one of {names}", value=written)
    metadata, spec = item.get("metadata"), item.get("spec")
    if not isinstance(metadata, dict):
        raise Invalid(f"{where}: metadata", "must be an object with a name")
    if spec is not None and not isinstance(spec, dict):
        raise Invalid(f"{where}: spec", "must be an object")
    name = check_name(metadata.get("name"), f"{where}: metadata.name") if kind else str(metadata.get("name", "-"))
    return Document(
        kind=kind, written=written, name=name, resource={"metadata": metadata, "spec": spec or {}}, where=where
    )


def _text(path: Path) -> str:
    try:
        if str(path) == "-":
            return sys.stdin.read()
        if path.stat().st_size > _FILE_BYTES:
            raise Invalid("-f", f"may have {_FILE_BYTES} bytes at most", value=str(path))
        return path.read_text()
    except OSError as exc:
        raise Invalid("-f", f"cannot be read: {exc.strerror}", value=str(path)) from exc
    except UnicodeDecodeError as exc:
        raise Invalid("-f", "is not text in UTF-8", value=str(path)) from exc


def _place(error: Exception) -> str:
    """The place of a mistake. Not the parser's own words, which quote the file, and with it perhaps a secret."""
    mark = getattr(error, "problem_mark", None)
    return f": line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
