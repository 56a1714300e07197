"""The options that several commands share, and the client that they lead to."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeport.core.errors import Invalid, NotFound
from homeport.core.ids import WRITTEN, Kind

if TYPE_CHECKING:
    from homeport.client import Homeport


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


Data = Annotated[
    Path | None,
    typer.Option(
        "--data", "--data-dir", metavar="DIR", help="The data directory. Default: $HOMEPORT_DATA, else the usual place."
    ),
]
Workspace = Annotated[str | None, typer.Option("-w", "--workspace", help="The workspace; default: $BL_WORKSPACE.")]
Format = Annotated[Output, typer.Option("-o", "--output", help="How to print: text, json or yaml.")]
Lines = Annotated[
    Output, typer.Option("-o", "--output", help="text; json: one object a line; yaml: one document a line.")
]

SPELLINGS = {spelling: kind for kind in WRITTEN for spelling in (kind.value, kind.plural)}
_UNSERVED = {
    name.lower().replace(" ", ""): name
    for name in (
        "Models",
        "Sandboxes",
        "Applications",
        "Volume templates",
        "Drives",
        "Integration connections",
        "Previews",
        "Preview tokens",
    )
}


def connect(data: Path | None, workspace: str | None, *, answer_s: float | None = None) -> "Homeport":
    """A client of the installation that the options, the environment or a login name. `answer_s`: the most that an
    answer may take, where the client's own bound is too long."""
    from homeport.cli.progress import patience
    from homeport.client import Homeport
    from homeport.client.installation import find_installation
    from homeport.client.transport import ANSWER_S

    found = find_installation(data, workspace=workspace)
    return Homeport(
        found.url,
        found.key,
        found.workspace,
        start_hint=found.start_hint,
        answer_s=answer_s or ANSWER_S,
        waiting=patience,
    )


def parse_kind(text: str, allowed: tuple[Kind, ...] = WRITTEN) -> Kind:
    """The kind named by `text`, singular or plural. Raises `Invalid`, or `NotFound` for a kind of the contract that
    this version does not serve."""
    kind = SPELLINGS.get(text.lower())
    if kind in allowed:
        return kind
    names = ", ".join(item.value for item in allowed)
    if (unserved := unserved_kind(text)) is not None:
        raise NotFound(f"{unserved} are not served by this version.", hint=f"Served are {names}.")
    raise Invalid("KIND", f"must be one of {names}", value=text)


def unserved_kind(text: str) -> str | None:
    """How messages call the kind of the contract that `text` names, when this version does not serve it."""
    word = text.lower().replace("-", "").replace("_", "").replace(" ", "")
    return _UNSERVED.get(word) or _UNSERVED.get(f"{word}s") or _UNSERVED.get(f"{word}es")
