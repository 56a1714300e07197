"""`homeport apply`: make the resources in manifests so."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli.options import Data, Format, Output, Workspace
from homeport.cli.output import emit, note, note_secrets, warn
from homeport.core.errors import HomeportError, NotFound, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from homeport.cli.documents import Document
    from homeport.client import Homeport

Files = Annotated[
    list[Path],
    typer.Option("-f", "--file", help="YAML or JSON; a directory of such; - for standard input. Repeatable."),
]
Recursive = Annotated[bool, typer.Option("-R", "--recursive", help="Read the folders in a directory, too.")]
EnvFile = Annotated[
    list[Path] | None,
    typer.Option("-e", "--env-file", metavar="FILE", help="Values for $VAR in the manifests; repeatable."),
]
Secrets = Annotated[
    list[str] | None, typer.Option("-s", "--secret", metavar="K=V", help="A value for $K in the manifests; repeatable.")
]


def apply(
    file: Files,
    recursive: Recursive = False,
    env_file: EnvFile = None,
    secret: Secrets = None,
    data: Data = None,
    workspace: Workspace = None,
    output: Format = Output.TEXT,
) -> None:
    """Create or update the resources in manifests.

    These are policies, volumes, agents, functions and jobs; policies and volumes go first, the others in their order.

    Nothing is sent before all are understood. What is refused is said and the others are applied; the exit code is 0
    only if all were. $VAR, ${VAR} and ${VAR:default} are replaced from the environment, --secret and --env-file.
    What is stored already and serves is not sent again: `unchanged`.

    \b
    Examples:
      homeport apply -f examples/policies/eu-only.yaml
      homeport apply -f ./manifests -R --env-file .env
      cat *.yaml | homeport apply -f -
    """
    from homeport.cli.documents import read_documents
    from homeport.cli.options import connect
    from homeport.cli.variables import read_files, read_words

    given = {**read_files(env_file or []), **read_words(secret or [], "--secret")}
    documents = read_documents(file, recursive=recursive, given=given)
    results = Results(output)
    with connect(data, workspace) as client:
        for document in documents:
            results.attempt(document, lambda known=document: _apply(client, known))
    results.finish()


class Results:
    """What became of each document, printed as it happens."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._done: list[dict[str, Any]] = []
        self._codes: set[int] = set()

    def attempt(self, document: "Document", act: Any) -> None:
        """Do it and say how it went. Ends everything when the server cannot be asked for the rest either."""
        from homeport.cli.errors import exit_code

        kind = document.kind.value if document.kind else document.written.lower()
        entry = {"kind": kind, "name": document.name}
        try:
            action = act()
        except HomeportError as error:
            self._done.append({**entry, "action": "failed", "error": error.for_caller()})
            self._codes.add(exit_code(error))
            where = f" ({document.where})" if document.where else ""
            note(f"{kind} {document.name} failed{where}: {error.for_caller()}")
            if isinstance(error, Unauthenticated | Unavailable):
                note("The rest was not sent.")
                self.finish()
            return
        self._done.append({**entry, "action": action})
        if self._output is Output.TEXT:
            print(f"{kind} {document.name} {action}", flush=True)

    def finish(self) -> None:
        """Print the list for programs; ends with the failures' code, 1 when they differ."""
        if self._output is not Output.TEXT:
            emit(self._done, self._output)
        if self._codes:
            raise typer.Exit(self._codes.pop() if len(self._codes) == 1 else 1)


def _apply(client: "Homeport", document: "Document") -> str:
    if document.kind is None:
        raise not_served(document)
    try:
        stored = client.get(document.kind, document.name)
    except NotFound:
        stored = None
    if stored is not None and says_nothing_new(document.resource, stored):
        return "unchanged"
    applied = client.apply(document.kind, document.resource)
    for warning in applied.warnings:
        warn(f"{document.kind} {document.name}: {warning}")
    note_secrets(applied.callback_secrets)
    return "created" if applied.created else "configured"


def not_served(document: "Document") -> NotFound:
    return NotFound(f"Kind {document.written} is not served by this version.")


def says_nothing_new(wanted: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether an update would store what is stored. A workload that does not serve is deployed again all the same. A
    secret is masked in what is read, so a manifest with its value always counts as new."""
    if stored.get("status", "DEPLOYED") != "DEPLOYED":
        return False
    old, new = stored.get("metadata") or {}, wanted["metadata"]
    same_labels = (new.get("labels") or {}) == (old.get("labels") or {})
    same_names = all(new.get(key) in (None, old.get(key)) for key in ("externalId",))
    same_display = (new.get("displayName") or None) == (old.get("displayName") or None)
    return same_labels and same_names and same_display and _asked(wanted["spec"]) == _asked(stored.get("spec") or {})


def _asked(spec: dict[str, Any]) -> Any:
    """What a manifest can ask for: the server alone makes secrets of callbacks, and keeps them whatever is sent."""
    said = _without_nulls(spec)
    for trigger in said.get("triggers") or ():
        if isinstance(trigger, dict) and isinstance(trigger.get("configuration"), dict):
            trigger["configuration"].pop("callbackSecret", None)
    return said


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
