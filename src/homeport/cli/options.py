"""The options that several commands share, and the client that they lead to."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeport.core.errors import Invalid
from homeport.core.ids import Kind

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

_SPELLINGS = {spelling: kind for kind in Kind for spelling in (kind.value, kind.plural)}
WORKLOADS = (Kind.AGENT, Kind.JOB)


def connect(data: Path | None, workspace: str | None) -> "Homeport":
    """A client of the installation that the options and the environment name."""
    from homeport.client import Homeport
    from homeport.client.installation import find_installation, start_hint

    found = find_installation(data, workspace=workspace)
    return Homeport(found.url, found.key, found.workspace, start_hint=start_hint(found.data))


def parse_kind(text: str, allowed: tuple[Kind, ...] = tuple(Kind)) -> Kind:
    """The kind named by `text`, singular or plural. Raises `Invalid`."""
    kind = _SPELLINGS.get(text.lower())
    if kind not in allowed:
        names = ", ".join(item.value for item in allowed)
        raise Invalid("KIND", f"must be one of {names}", value=text)
    return kind
