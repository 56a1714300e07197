"""Everything that `get` shows: how it is spelt, what may follow, how it is read, and its columns. One entry a thing.

Used by `get`. What the API answers is passed on whole; a row only picks from it for people.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from homeport.cli.options import SPELLINGS, parse_kind, unserved_kind
from homeport.cli.output import age
from homeport.core.errors import Invalid, NotFound
from homeport.core.ids import WORKLOADS, Kind

if TYPE_CHECKING:
    from homeport.client import Homeport

Resource = dict[str, Any]
_PAGE = 200  # the contract's largest
_TAGS_SHOWN = 4
_SORTS = ("createdAt:desc", "createdAt:asc", "name:asc", "name:desc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user asked for besides the kind. limit: None for all."""

    words: tuple[str, ...] = ()
    q: str = ""
    sort: str = ""
    status: str = ""
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is. one: the caller named a single thing. total: how many there are in all, where the list was cut.
    addresses: where the one workload answers."""

    items: list[Resource]
    one: bool = False
    total: int | None = None
    addresses: Resource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """spellings: the plural first. words: what must or may follow. filters: the options that narrow its list."""

    spellings: tuple[str, ...]
    columns: tuple[str, ...]
    row: Callable[[Resource], Sequence[object]]
    read: Callable[["Homeport", Wanted], Found]
    words: tuple[str, ...] = ("[NAME]",)
    filters: frozenset[str] = field(default_factory=frozenset)


def find_view(text: str, words: Sequence[str]) -> tuple[View, tuple[str, ...]]:
    """The view that `get TEXT WORDS` means, with the words that are left to it. Raises `Invalid`, or `NotFound` for a
    kind that this version does not serve."""
    view = _BY_SPELLING.get(text.lower())
    if view is None:
        names = ", ".join(view.spellings[0] for view in VIEWS)
        if (unserved := unserved_kind(text)) is not None:
            raise NotFound(f"{unserved} are not served by this version.", hint=f"There are {names}.")
        raise Invalid("KIND", f"must be one of {names}", value=text)
    given = tuple(words)
    # The public command line nests: `get job J executions`, `get agent A revisions`.
    if len(given) > 1 and (inner := _BY_SPELLING.get(given[1].lower())) in _NESTED:
        kind = SPELLINGS.get(text.lower())
        if kind is not None and (kind is Kind.JOB or inner is _REVISIONS):
            start = (f"{kind}/{given[0]}",) if inner is _REVISIONS else (given[0],)
            view, given = inner, (*start, *given[2:])
    if view is _REVISIONS and len(given) == 2:
        given = ("/".join(given),)
    _check_words(view, given)
    return view, given


def check_filters(view: View, wanted: Wanted) -> None:
    """Refuse an option that this list does not have: it would be ignored."""
    for name in ("q", "sort", "status"):
        if getattr(wanted, name) and name not in view.filters:
            raise Invalid(f"--{name}" if name != "q" else "-q", f"is no option of {view.spellings[0]}")
    if wanted.sort and wanted.sort not in _SORTS:
        raise Invalid("--sort", f"must be one of {', '.join(_SORTS)}", value=wanted.sort)
    one = bool(view.words) and view.words[-1].startswith("[") and len(wanted.words) == len(view.words)
    if one and (wanted.q or wanted.sort or wanted.status or wanted.limit):
        raise Invalid("-q, --sort, --status and --limit", "are options of a list, not of one thing")


def _check_words(view: View, given: Sequence[str]) -> None:
    needed = sum(not word.startswith("[") for word in view.words)
    if not needed <= len(given) <= len(view.words):
        name = view.spellings[0]
        usage = " ".join(("homeport get", name, *view.words))
        raise Invalid(
            name,
            "needs other words" if given else "needs more words",
            value=" ".join(given) or None,
            hint=f"Usage: {usage}",
        )


def _read_kind(kind: Kind) -> Callable[["Homeport", Wanted], Found]:
    def read(client: "Homeport", wanted: Wanted) -> Found:
        if wanted.words:
            found = client.get(kind, wanted.words[0])
            addresses = client.addresses(kind, wanted.words[0]) if kind.serves else None
            return Found(items=[found], one=True, addresses=addresses)
        return _listed(client, kind, wanted)

    return read


def _listed(client: "Homeport", kind: Kind, wanted: Wanted) -> Found:
    """Page by page until all or enough are there."""
    from homeport.client.http import ListQuery

    items: list[Resource] = []
    cursor = ""
    while True:
        room = _PAGE if wanted.limit is None else min(_PAGE, wanted.limit - len(items))
        query = ListQuery(q=wanted.q, status=wanted.status, sort=wanted.sort, cursor=cursor, limit=room)
        page = client.list_page(kind, query)
        items += page.items
        if not page.cursor or page.cursor == cursor:
            return Found(items=items)
        if wanted.limit is not None and len(items) >= wanted.limit:
            return Found(items=items, total=page.total)
        cursor = page.cursor


def _read_executions(client: "Homeport", wanted: Wanted) -> Found:
    job, *rest = wanted.words
    if rest:
        return Found(items=[client.get_execution(job, rest[0])], one=True)
    return _taken(client.list_executions(job, q=wanted.q, sort=wanted.sort), wanted)


def _read_tasks(client: "Homeport", wanted: Wanted) -> Found:
    job, execution = wanted.words
    return _taken(client.list_tasks(job, execution, q=wanted.q, sort=wanted.sort), wanted)


def _taken(items: Iterator[Resource], wanted: Wanted) -> Found:
    """The first of a list that the server cannot narrow by status."""
    states = {word.strip().lower() for word in wanted.status.split(",") if word.strip()}
    kept = (item for item in items if not states or str(item.get("status", "")).lower() in states)
    return Found(items=[*islice(kept, wanted.limit)])


def _read_revisions(client: "Homeport", wanted: Wanted) -> Found:
    kind, slash, name = wanted.words[0].partition("/")
    if not slash or not name:
        hint = "Such as `homeport get revisions agent/hello-agent`."
        raise Invalid("revisions", "needs KIND/NAME", value=wanted.words[0], hint=hint)
    return Found(items=client.revisions(parse_kind(kind, WORKLOADS), name)[: wanted.limit])


def _read_images(client: "Homeport", wanted: Wanted) -> Found:
    if wanted.words:
        return Found(items=[client.get_image(image_name(wanted.words[0]))], one=True)
    return Found(items=client.list_images()[: wanted.limit])


def image_name(word: str) -> str:
    """`word`, if it can be an image's name. Raises `Invalid`."""
    kind, slash, name = word.partition("/")
    if not slash or not kind or not name:
        raise Invalid("IMAGE", "must be KIND/NAME", value=word, hint="Such as `homeport get image agent/hello-agent`.")
    return word


def _read_locations(client: "Homeport", wanted: Wanted) -> Found:
    return Found(items=client.list_locations()[: wanted.limit])


def _read_configuration(client: "Homeport", wanted: Wanted) -> Found:
    return Found(items=[client.get_configuration()], one=True)


def _read_workspaces(client: "Homeport", wanted: Wanted) -> Found:
    if wanted.words:
        return Found(items=[client.get_workspace(wanted.words[0])], one=True)
    return Found(items=client.list_workspaces()[: wanted.limit])


def _read_accounts(client: "Homeport", wanted: Wanted) -> Found:
    if wanted.words:
        return Found(items=[find_account(client, wanted.words[0])], one=True)
    return Found(items=client.list_accounts()[: wanted.limit])


def _read_keys(client: "Homeport", wanted: Wanted) -> Found:
    accounts = [find_account(client, wanted.words[0])] if wanted.words else client.list_accounts()
    keys = [key for account in accounts for key in client.list_keys(str(account.get("client_id")))]
    return Found(items=keys[: wanted.limit])


def find_account(client: "Homeport", word: str) -> Resource:
    """The service account with this name or client id. Raises `NotFound`, or `Invalid` for a name of several."""
    accounts = client.list_accounts()
    found = [known for known in accounts if known.get("client_id") == word]
    found = found or [known for known in accounts if known.get("name") == word]
    if not found:
        hint = f"`homeport get accounts` lists them; `homeport accounts create {word}` makes one."
        raise NotFound(f"There is no service account {word!r}.", hint=hint)
    if len(found) > 1:
        ids = ", ".join(str(known.get("client_id")) for known in found)
        raise Invalid("ACCOUNT", "is the name of several", value=word, hint=f"Name one by its client id: {ids}.")
    return found[0]


def counts(execution: Resource) -> str:
    """An execution's tasks in words."""
    stats = execution.get("stats") or {}
    words = [f"{stats.get('success', 0)}/{stats.get('total', 0)} succeeded"]
    for key, word in (
        ("running", "running"),
        ("failure", "failed"),
        ("cancelled", "cancelled"),
        ("retried", "retried"),
        ("lost", "lost"),
    ):
        if stats.get(key):
            words.append(f"{stats[key]} {word}")
    return ", ".join(words)


def _policy_row(item: Resource) -> Sequence[object]:
    metadata, spec = item.get("metadata") or {}, item.get("spec") or {}
    places = [f"{place.get('type')} {place.get('name')}" for place in spec.get("locations") or ()]
    flavors = [f"{flavor.get('type')} {flavor.get('name')}" for flavor in spec.get("flavors") or ()]
    tokens = [f"{key} {value}" for key, value in (spec.get("maxTokens") or {}).items()]
    allowed = ", ".join([*places, *flavors, *tokens]) or "-"
    usage = item.get("usage")
    used = "-" if usage is None else sum(number for number in usage.values() if isinstance(number, int))
    return metadata.get("name"), spec.get("type", "-"), allowed, used, age(metadata.get("createdAt"))


def _volume_row(item: Resource) -> Sequence[object]:
    metadata, spec = item.get("metadata") or {}, item.get("spec") or {}
    holder = (item.get("state") or {}).get("attachedTo") or "-"
    size = f"{spec.get('size', '-')} MB"
    return (
        metadata.get("name"),
        item.get("status", "-"),
        size,
        spec.get("region"),
        holder,
        age(metadata.get("createdAt")),
    )


def _workload_row(item: Resource) -> Sequence[object]:
    metadata = item.get("metadata") or {}
    policies = ", ".join((item.get("spec") or {}).get("policies") or ()) or "-"
    url = metadata.get("url") or "-"
    return metadata.get("name"), item.get("status", "-"), policies, url, age(metadata.get("createdAt"))


def _execution_row(item: Resource) -> Sequence[object]:
    metadata = item.get("metadata") or {}
    return metadata.get("id", "-"), item.get("status", "-"), counts(item), age(metadata.get("createdAt"))


def _task_row(task: Resource) -> Sequence[object]:
    said = [condition.get("message") or condition.get("reason") for condition in task.get("conditions") or ()]
    last = next((text for text in reversed(said) if text), "")
    return (task.get("metadata") or {}).get("name", "-"), task.get("status", "-"), task.get("attempts", "-"), last


def _revision_row(item: Resource) -> Sequence[object]:
    traffic = item.get("trafficPercent")
    shown = "-" if traffic is None else f"{traffic} %"
    return item.get("id", "-"), item.get("status", "-"), shown, age(item.get("createdAt")), item.get("createdBy", "-")


def _image_row(item: Resource) -> Sequence[object]:
    from homeport.cli.progress import human_size

    metadata, spec = item.get("metadata") or {}, item.get("spec") or {}
    newest_first = sorted(spec.get("tags") or (), key=lambda tag: str(tag.get("updatedAt")), reverse=True)
    tags = [str(tag.get("name")) for tag in newest_first]
    shown = ", ".join(tags[:_TAGS_SHOWN]) + (f" and {len(tags) - _TAGS_SHOWN} more" if len(tags) > _TAGS_SHOWN else "")
    name = f"{metadata.get('resourceType')}/{metadata.get('name')}"
    size, deployed = human_size(spec.get("size") or 0), age(metadata.get("lastDeployedAt"))
    return name, metadata.get("status", "-"), size, shown or "-", deployed, age(metadata.get("createdAt"))


def _location_row(item: Resource) -> Sequence[object]:
    flavors = ", ".join(f"{flavor.get('type')} {flavor.get('name')}" for flavor in item.get("flavors") or ()) or "-"
    places = (item.get(key) or "unknown" for key in ("country", "continent"))
    return item.get("region", "-"), item.get("status", "-"), *places, flavors


def _configuration_row(item: Resource) -> Sequence[object]:
    def names(key: str) -> str:
        return ", ".join(str(entry.get("name")) for entry in item.get(key) or ()) or "-"

    return names("regions"), names("countries"), names("continents")


def _workspace_row(item: Resource) -> Sequence[object]:
    return item.get("name", "-"), item.get("status", "-"), item.get("displayName") or "-", age(item.get("createdAt"))


def _account_row(item: Resource) -> Sequence[object]:
    facts = (item.get(key) or "-" for key in ("name", "client_id", "role", "description"))
    return *facts, age(item.get("created_at"))


def _key_row(item: Resource) -> Sequence[object]:
    ends = item.get("expires_in") or "never"
    return item.get("id", "-"), item.get("name") or "-", item.get("sub", "-"), ends, age(item.get("createdAt"))


_LIST_FILTERS = frozenset({"q", "sort", "status"})
_WORKLOAD_COLUMNS = ("NAME", "STATUS", "POLICIES", "URL", "AGE")
_REVISIONS = View(
    spellings=("revisions", "revision"),
    words=("KIND/NAME",),
    columns=("REVISION", "STATUS", "TRAFFIC", "AGE", "BY"),
    row=_revision_row,
    read=_read_revisions,
)
_EXECUTIONS = View(
    spellings=("executions", "execution"),
    words=("JOB", "[EXECUTION]"),
    columns=("EXECUTION", "STATUS", "TASKS", "AGE"),
    row=_execution_row,
    read=_read_executions,
    filters=_LIST_FILTERS,
)
_TASKS = View(
    spellings=("tasks", "task"),
    words=("JOB", "EXECUTION"),
    columns=("TASK", "STATUS", "ATTEMPTS", "SAYS"),
    row=_task_row,
    read=_read_tasks,
    filters=_LIST_FILTERS,
)
_NESTED = (_REVISIONS, _EXECUTIONS)
VIEWS = (
    View(
        spellings=("agents", "agent"),
        columns=_WORKLOAD_COLUMNS,
        row=_workload_row,
        read=_read_kind(Kind.AGENT),
        filters=_LIST_FILTERS,
    ),
    View(
        spellings=("functions", "function"),
        columns=_WORKLOAD_COLUMNS,
        row=_workload_row,
        read=_read_kind(Kind.FUNCTION),
        filters=_LIST_FILTERS,
    ),
    View(
        spellings=("jobs", "job"),
        columns=_WORKLOAD_COLUMNS,
        row=_workload_row,
        read=_read_kind(Kind.JOB),
        filters=_LIST_FILTERS,
    ),
    View(
        spellings=("policies", "policy"),
        columns=("NAME", "TYPE", "ALLOWS", "USED BY", "AGE"),
        row=_policy_row,
        read=_read_kind(Kind.POLICY),
        filters=frozenset({"q", "sort"}),
    ),
    View(
        spellings=("volumes", "volume"),
        columns=("NAME", "STATUS", "SIZE", "REGION", "ATTACHED TO", "AGE"),
        row=_volume_row,
        read=_read_kind(Kind.VOLUME),
        filters=_LIST_FILTERS,
    ),
    _REVISIONS,
    _EXECUTIONS,
    _TASKS,
    View(
        spellings=("images", "image"),
        words=("[KIND/NAME]",),
        columns=("IMAGE", "STATUS", "SIZE", "TAGS", "DEPLOYED", "AGE"),
        row=_image_row,
        read=_read_images,
    ),
    View(
        spellings=("locations", "location", "regions", "region"),
        words=(),
        columns=("REGION", "STATUS", "COUNTRY", "CONTINENT", "FLAVORS"),
        row=_location_row,
        read=_read_locations,
    ),
    View(
        spellings=("workspaces", "workspace"),
        columns=("NAME", "STATUS", "DISPLAY NAME", "AGE"),
        row=_workspace_row,
        read=_read_workspaces,
    ),
    View(
        spellings=("accounts", "account", "service_accounts", "serviceaccounts"),
        words=("[ACCOUNT]",),
        columns=("NAME", "CLIENT ID", "ROLE", "DESCRIPTION", "AGE"),
        row=_account_row,
        read=_read_accounts,
    ),
    View(
        spellings=("keys", "key", "apikeys", "api_keys"),
        words=("[ACCOUNT]",),
        columns=("KEY", "NAME", "ACCOUNT", "EXPIRES AFTER", "AGE"),
        row=_key_row,
        read=_read_keys,
    ),
    View(
        spellings=("configuration",),
        words=(),
        columns=("REGIONS", "COUNTRIES", "CONTINENTS"),
        row=_configuration_row,
        read=_read_configuration,
    ),
)
_BY_SPELLING = {spelling: view for view in VIEWS for spelling in view.spellings}
