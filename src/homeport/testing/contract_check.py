"""`make contract SPEC=path/to/openapi.yml`: where our document differs from another, and whether that is explained.

Compared operation by operation and field by field. Explanations are rows of `docs/contract.md`: a pattern in which `*`
stands for anything, and the reason. The exit code is 0 if every difference matches one and every one matches a
difference. Kinds that this version does not serve are not compared, only counted.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from homeport.api.app import routed_app
from homeport.testing.contract_facts import NO_BODY, READ_ONLY, Facts, operations

# The first parts of the paths of the kinds that are served.
SERVED = (
    "agents",
    "configuration",
    "functions",
    "images",
    "jobs",
    "locations",
    "policies",
    "service_accounts",
    "volumes",
    "workspaces",
)
ABSENT = "absent"
DEFAULT_REASONS = Path("docs/contract.md")
_ROW = re.compile(r"\| `(?P<pattern>[^`]+)` \| (?P<reason>.+?) \|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact on which the documents differ."""

    operation: str
    where: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.operation} · {self.where} · {self.ours} · {self.theirs}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why differences of a pattern are as they are."""

    pattern: str
    reason: str

    def explains(self, difference: Difference) -> bool:
        parts = (re.escape(part) for part in self.pattern.split("*"))
        return re.fullmatch(".*".join(parts), str(difference)) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`unserved` counts the operations of kinds that are not compared; `added` are those that only we have."""

    differences: list[Difference]
    compared: int
    unserved: Counter[str]
    added: list[str]


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], served: Sequence[str] = SERVED) -> Comparison:
    """Every difference between two documents in the operations of the kinds in `served`."""
    mine, other = operations(ours), operations(theirs)
    compared = [operation for operation in other if _kind(operation) in served]
    differences: list[Difference] = []
    for operation in compared:
        if operation in mine:
            differences += _differing(operation, mine[operation], other[operation])
        else:
            differences.append(Difference(operation=operation, where="operation", ours=ABSENT, theirs="present"))
    return Comparison(
        differences=differences,
        compared=len(compared),
        unserved=Counter(_kind(operation) for operation in other if _kind(operation) not in served),
        added=sorted(set(mine) - set(other)),
    )


def _differing(operation: str, ours: Facts, theirs: Facts) -> Iterator[Difference]:
    """Facts that differ. Of what only one side has, the outermost is named and what is inside of it is not."""
    missing: list[str] = []
    for where in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(where, ABSENT), theirs.get(where, ABSENT)
        if mine == other or any(where.startswith((f"{one}.", f"{one}[", f"{one} ")) for one in missing):
            continue
        if where.endswith(READ_ONLY):
            missing.append(where.removesuffix(READ_ONLY))  # what is inside of it is said on one side only
        if {ABSENT, NO_BODY} & {mine, other}:
            missing.append(where)
        yield Difference(operation=operation, where=where, ours=mine, theirs=other)


def _kind(operation: str) -> str:
    return operation.partition(" /")[2].partition("/")[0]


def read_reasons(text: str) -> list[Reason]:
    """The rows of tables whose first cell is a pattern of differences."""
    rows = (_ROW.match(line) for line in text.splitlines())
    return [Reason(pattern=row["pattern"], reason=row["reason"]) for row in rows if row and " · " in row["pattern"]]


def report(comparison: Comparison, reasons: Sequence[Reason]) -> tuple[list[str], bool]:
    """What to print, and whether all is explained."""
    used: set[Reason] = set()
    open_lines, explained = [], []
    for difference in comparison.differences:
        found = next((reason for reason in reasons if reason.explains(difference)), None)
        if found is None:
            open_lines.append(f"UNEXPLAINED  {difference}")
        else:
            used.add(found)
            explained.append(f"explained    {difference}")
    stale = [f"STALE        {reason.pattern}" for reason in reasons if reason not in used]
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(comparison.unserved.items()))
    lines = [
        *explained,
        *open_lines,
        *stale,
        f"{comparison.compared} operations compared: {len(comparison.differences)} differences, "
        f"{len(explained)} explained by {len(used)} reasons, {len(open_lines)} not explained; "
        f"{len(stale)} reasons explain nothing.",
        f"Operations of kinds that are not served: {counts or 'none'}.",
        f"Operations of Homeport's own: {', '.join(comparison.added) or 'none'}.",
    ]
    return lines, not open_lines and not stale


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print; 0 if everything is explained, 1 if not, 2 for a file that cannot be read."""
    parser = argparse.ArgumentParser(prog="make contract", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("spec", type=Path, help="an OpenAPI 3 document, YAML or JSON")
    parser.add_argument("--reasons", type=Path, default=DEFAULT_REASONS, help="where differences are explained")
    options = parser.parse_args(arguments)
    try:
        theirs = read_document(options.spec)
        reasons = read_reasons(options.reasons.read_text())
    except (OSError, ValueError) as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2
    lines, explained = report(compare(routed_app("http://homeport").openapi(), theirs), reasons)
    print("\n".join(lines))
    return 0 if explained else 1


def read_document(path: Path) -> dict[str, Any]:
    """The document in a YAML or JSON file. Raises `OSError`, and `ValueError` for what is no OpenAPI document."""
    text = path.read_text()
    try:
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise ValueError(f"{path} is no OpenAPI document: it has no paths")
    return document


if __name__ == "__main__":
    raise SystemExit(main())
