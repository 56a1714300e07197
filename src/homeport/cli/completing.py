"""Completion of kinds and names in a shell. Names come from the server, asked with a short patience.

Called by the shell through Typer while somebody types, so nothing here may print, prompt, wait or fail: what cannot be
known completes to nothing.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import typer

from homeport.cli.options import SPELLINGS, connect
from homeport.core.ids import WORKLOADS, WRITTEN, Kind

if TYPE_CHECKING:
    from homeport.client import Homeport

_PATIENCE_S = 1.0
_NAMES = 200  # one page: nobody picks from a longer list
_QUERY_MIN = 2  # the server ignores shorter ones


def complete_kind(incomplete: str) -> list[str]:
    return [kind.value for kind in WRITTEN if kind.value.startswith(incomplete)]


def complete_workload_kind(incomplete: str) -> list[str]:
    return [kind.value for kind in WORKLOADS if kind.value.startswith(incomplete)]


def complete_get_kind(incomplete: str) -> list[str]:
    from homeport.cli.views import VIEWS

    return [view.spellings[0] for view in VIEWS if view.spellings[0].startswith(incomplete)]


def complete_name(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the kind that stands before."""
    kind = SPELLINGS.get(str(ctx.params.get("kind") or "").lower())
    return [] if kind is None else _asked(ctx, lambda client: _names(client, kind, incomplete), incomplete)


def complete_agent(ctx: typer.Context, incomplete: str) -> list[str]:
    return _asked(ctx, lambda client: _names(client, Kind.AGENT, incomplete), incomplete)


def complete_rollout(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of agents, or of --kind; with a slash, KIND/NAME."""
    if "/" in incomplete:
        return _asked(ctx, _workloads, incomplete)
    kind = SPELLINGS.get(str(ctx.params.get("kind") or Kind.AGENT).lower())
    return [] if kind is None else _asked(ctx, lambda client: _names(client, kind, incomplete), incomplete)


def complete_revision(ctx: typer.Context, incomplete: str) -> list[str]:
    """Revisions of the workload that stands before."""
    # An option that still lacks its value ends the parsing: what stands before it is not a parameter then.
    said = ctx.params.get("name") or next(iter(ctx.args), "")
    before, slash, after = str(said).partition("/")
    kind = SPELLINGS.get((before if slash else str(ctx.params.get("kind") or Kind.AGENT)).lower())
    name = after if slash else before
    if kind is None or not name:
        return []
    return _asked(ctx, lambda client: [str(one.get("id")) for one in client.revisions(kind, name)], incomplete)


def complete_signing_key(ctx: typer.Context, incomplete: str) -> list[str]:
    return _asked(ctx, lambda client: [str(one.get("id")) for one in client.list_signing_keys()], incomplete)


def complete_function(ctx: typer.Context, incomplete: str) -> list[str]:
    return _asked(ctx, lambda client: _names(client, Kind.FUNCTION, incomplete), incomplete)


def complete_job(ctx: typer.Context, incomplete: str) -> list[str]:
    return _asked(ctx, lambda client: _names(client, Kind.JOB, incomplete), incomplete)


def complete_policy(ctx: typer.Context, incomplete: str) -> list[str]:
    return _asked(ctx, lambda client: _names(client, Kind.POLICY, incomplete), incomplete)


def complete_execution(ctx: typer.Context, incomplete: str) -> list[str]:
    """Executions of the job that stands before."""
    job = str(ctx.params.get("job") or ctx.params.get("name") or "")
    return _asked(ctx, lambda client: _executions(client, job), incomplete) if job else []


def complete_invocation(ctx: typer.Context, incomplete: str) -> list[str]:
    """The newest asynchronous calls."""
    return _asked(ctx, _invocations, incomplete)


def complete_account(ctx: typer.Context, incomplete: str) -> list[str]:
    return _asked(ctx, lambda client: [str(known.get("name")) for known in client.list_accounts()], incomplete)


def complete_get_words(ctx: typer.Context, incomplete: str) -> list[str]:
    """What may follow `get KIND`: names, or what nests below one."""
    from homeport.cli.views import VIEWS

    kind, words = str(ctx.params.get("kind") or "").lower(), _list(ctx.params.get("words"))
    plural = next((view.spellings[0] for view in VIEWS if kind in view.spellings), "")
    if plural in ("executions", "tasks"):
        find = (
            (lambda client: _executions(client, words[0])) if words else (lambda client: _names(client, Kind.JOB, ""))
        )
        return _asked(ctx, find, incomplete) if len(words) < 2 else []
    if plural == "images" and not words:
        return _asked(ctx, _image_names, incomplete)
    if plural == "revisions" and not words:
        return _asked(ctx, _workloads, incomplete)
    if plural in ("accounts", "keys") and not words:
        return complete_account(ctx, incomplete)
    known = SPELLINGS.get(kind)
    if known is None or len(words) > 1:
        return []
    if words:
        below = ["executions", "revisions"] if known is Kind.JOB else ["revisions"] if known in WORKLOADS else []
        return [word for word in below if word.startswith(incomplete)]
    return _asked(ctx, lambda client: _names(client, known, incomplete), incomplete)


def _asked(ctx: typer.Context, ask: Callable[["Homeport"], Sequence[str]], incomplete: str) -> list[str]:
    try:
        with connect(ctx.params.get("data"), ctx.params.get("workspace"), answer_s=_PATIENCE_S) as client:
            return sorted(name for name in ask(client) if name.startswith(incomplete))
    except Exception:  # whatever it is, somebody is typing
        return []


def _names(client: "Homeport", kind: Kind, incomplete: str) -> list[str]:
    from homeport.client.http import ListQuery

    query = ListQuery(q=incomplete if len(incomplete) >= _QUERY_MIN else "", sort="name:asc", limit=_NAMES)
    return [str(item["metadata"]["name"]) for item in client.list_page(kind, query).items]


def _executions(client: "Homeport", job: str) -> list[str]:
    return [str(item["metadata"]["id"]) for item in client.recent_executions(job)]


def _invocations(client: "Homeport") -> list[str]:
    return [str(item["id"]) for item in islice(client.list_invocations({}), _NAMES)]


def _image_names(client: "Homeport") -> list[str]:
    found = (image["metadata"] for image in client.list_images())
    return [f"{metadata['resourceType']}/{metadata['name']}" for metadata in found]


def _workloads(client: "Homeport") -> list[str]:
    return [f"{kind}/{name}" for kind in WORKLOADS for name in _names(client, kind, "")]


def _list(value: Any) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list | tuple) else []
