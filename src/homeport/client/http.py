"""The HTTP client: one method per operation of the API that the command line and programs need.

Resources are the contract's JSON as dictionaries; errors are those of `homeport.core.errors` and
`homeport.client.errors`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from homeport.client.accounts import AccountOperations
from homeport.client.archive import Archive
from homeport.client.installation import API_PREFIX
from homeport.client.transport import ANSWER_S, CONNECT_S, Page, Resource, check, parsed_object, part
from homeport.core.errors import NotFound
from homeport.core.fields import IGNORED_HEADER, MASK, Ignored
from homeport.core.ids import Kind
from homeport.core.limits import EXECUTION_PAGE_LIMIT_MAX, HISTORY_PAGE_LIMIT_MAX, PAGE_LIMIT_MAX, REQUEST_TIMEOUT_S

UPLOAD_HEADER = "X-Blaxel-Upload-Url"
_BLOCK = 256 * 1024
_MCP_ACCEPTS = "application/json, text/event-stream"  # an MCP server refuses who does not take both


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What `apply` did: the resource as stored, `created` or updated, where to upload its source, if asked, and what of
    the order has no effect."""

    resource: Resource
    created: bool
    upload_url: str | None
    ignored: tuple[Ignored, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What a person should know of an order that was accepted: what has no effect, what its programs will lack, and
        that it will not serve."""
        newest = (self.resource.get("events") or [{}])[-1].get("revision")
        kept = [
            str(event.get("message"))
            for event in self.resource.get("events") or ()
            if event.get("reason") in ("NotServed", "NoGateway") and event.get("revision") == newest
        ]
        return [*map(str, self.ignored), *kept]

    @property
    def callback_secrets(self) -> dict[str, str]:
        """Secrets of callbacks, by the trigger's id, that this answer shows, and no later one."""
        triggers = (self.resource.get("spec") or {}).get("triggers") or ()
        found = {str(one.get("id")): (one.get("configuration") or {}).get("callbackSecret") for one in triggers}
        return {ident: str(secret) for ident, secret in found.items() if secret and secret != MASK}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Which resources of a kind, in which order. `limit` is the page's, 200 at most; empty values do not narrow."""

    q: str = ""
    status: str = ""
    sort: str = ""
    cursor: str = ""
    limit: int = PAGE_LIMIT_MAX

    def parameters(self) -> dict[str, str]:
        words = {"q": self.q, "status": self.status, "sort": self.sort, "cursor": self.cursor}
        return {"limit": str(self.limit), **{key: value for key, value in words.items() if value}}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which lines of a workload to read. source: "run" or "build". tail: only the last so many lines. since, until: RFC
    3339, only lines from then on, and before. severity: levels with commas between them. text: what lines hold."""

    source: str = "run"
    follow: bool = False
    execution: str | None = None
    task: str | None = None
    tail: int | None = None
    since: str | None = None
    until: str | None = None
    revision: str | None = None
    replica: str | None = None
    severity: str | None = None
    text: str | None = None

    @property
    def narrowed(self) -> bool:
        """Whether it selects some of the lines only, other than by their age."""
        return bool(self.until or self.revision or self.replica or self.severity or self.text)

    def parameters(self) -> dict[str, str]:
        given = {
            "execution": self.execution,
            "task": self.task,
            "tail": None if self.tail is None else str(self.tail),
            "since": self.since,
            "until": self.until,
            "revision": self.revision,
            "replica": self.replica,
            "severity": self.severity,
            "text": self.text,
        }
        always = {"source": self.source, "follow": "true" if self.follow else "false"}
        return always | {name: value for name, value in given.items() if value}


class Homeport(AccountOperations):
    """A client of one Homeport and one workspace; see `Transport` for how it is made and what it raises."""

    # Policies and workloads.

    def list_page(self, kind: Kind, query: ListQuery) -> Page:
        """One page of a kind."""
        return self._page(f"/{kind.plural}", query.parameters())

    def list_all(self, kind: Kind) -> Iterator[Resource]:
        """Every resource of a kind, newest first, page by page."""
        yield from self._pages(f"/{kind.plural}", PAGE_LIMIT_MAX)

    def get(self, kind: Kind, name: str) -> Resource:
        return self._json("GET", f"/{kind.plural}/{part(name)}")

    def delete(self, kind: Kind, name: str) -> Resource:
        return self._json("DELETE", f"/{kind.plural}/{part(name)}")

    def apply(self, kind: Kind, resource: Resource, *, upload: bool = False) -> Applied:
        """Update the resource, or create it when there is none of that name. With `upload`, ask where its source is
        to be put."""
        name = str(resource.get("metadata", {}).get("name", ""))
        query = {"upload": "true"} if upload else {}
        try:
            answer, created = self._call("PUT", f"/{kind.plural}/{part(name)}", body=resource, query=query), False
        except NotFound:
            answer, created = self._call("POST", f"/{kind.plural}", body=resource, query=query), True
        return Applied(
            resource=parsed_object(answer.text),
            created=created,
            upload_url=answer.headers.get(UPLOAD_HEADER),
            ignored=_ignored(answer),
        )

    def upload(self, url: str, archive: Archive, sent: Callable[[int], None] = lambda size: None) -> None:
        """Put a packed folder where `apply` said. The address is the credential, so no key is sent. `sent` is told of
        every block, in bytes."""

        def blocks() -> Iterator[bytes]:
            while block := archive.file.read(_BLOCK):
                yield block
                sent(len(block))

        headers = {"Content-Type": "application/zip", "Content-Length": str(archive.size)}
        with self._translated():
            answer = self._http.put(url, content=blocks(), headers=headers)
            check(answer)

    def revisions(self, kind: Kind, name: str) -> list[Resource]:
        """What was deployed under a name, newest first."""
        return self._array(f"/{kind.plural}/{part(name)}/revisions")

    def addresses(self, kind: Kind, name: str) -> Resource:
        """Where a workload answers, and who may call (Homeport's own): `data`, and a `note` where there is no host
        name."""
        return self._json("GET", f"/homeport/addresses/{kind.plural}/{part(name)}")

    def rollout(self, kind: Kind, name: str) -> Resource:
        """Which revision serves which share, and what is on its way (Homeport's own)."""
        return self._json("GET", f"/homeport/rollouts/{kind.plural}/{part(name)}")

    def order_rollout(self, kind: Kind, name: str, verb: str, body: Resource) -> Resource:
        """`promote`, `undo` or `abort`; `body` may hold `revision` and, for a promotion, `percent`."""
        return self._json("POST", f"/homeport/rollouts/{kind.plural}/{part(name)}/{verb}", body=body)

    def explain(self, kind: Kind, name: str) -> Resource:
        """How policies and placement decide about a workload now, or what a policy does."""
        return self._json("GET", f"/homeport/explain/{kind.plural}/{part(name)}")

    def dry_run_policy(self, change: Resource) -> Resource:
        """What a change of a policy would do: `metadata` and `spec`, or `name` and `delete`; `attach` for all."""
        return self._json("POST", "/homeport/policies/dry-run", body=change)

    def status(self) -> Resource:
        """What runs, and what the operator should know."""
        return self._json("GET", "/homeport/status")

    def logs(self, kind: Kind, name: str, query: LogQuery) -> Iterator[Resource]:
        """Lines `{time, stream, severity, text, revision, replica | task}`, oldest first; with `follow`, until the
        program or the caller ends it."""
        address = f"/homeport/logs/{kind.plural}/{part(name)}"
        yield from self._streamed(address, query.parameters(), endless=query.follow)

    def events(self, narrowed: Mapping[str, str], limit: int) -> list[Resource]:
        """The newest `limit` events, oldest first."""
        found: list[Resource] = []
        query = dict(narrowed)
        while len(found) < limit:
            page = self._json("GET", "/homeport/events", query={**query, "limit": str(limit - len(found))})
            found += page.get("data") or ()
            if page.get("next") is None:
                break
            query["before"] = str(page["next"])
        return found[::-1]

    def watch_events(self, narrowed: Mapping[str, str], *, after: int) -> Iterator[Resource]:
        """Each event past the number `after` as it happens, until the caller ends it."""
        asked = {**narrowed, "follow": "true", "after": str(after)}
        yield from self._streamed("/homeport/events", asked, endless=True)

    def _streamed(self, address: str, asked: Mapping[str, str], *, endless: bool) -> Iterator[Resource]:
        """The objects of an answer of one a line."""
        # A program may be silent for days, so following waits for each line without a bound; Ctrl-C ends it.
        timeout = httpx.Timeout(None if endless else ANSWER_S, connect=CONNECT_S)
        url = f"{self.url}{API_PREFIX}{address}"
        with (
            self._translated(),
            self._http.stream("GET", url, params=asked, headers=self._headers, timeout=timeout) as answer,
        ):
            check(answer)
            for text in answer.iter_lines():
                if text.strip():
                    yield parsed_object(text)

    # Stored secrets.

    def list_secrets(self) -> Iterator[Resource]:
        """Names and dates."""
        yield from self._json("GET", "/homeport/secrets").get("data") or ()

    def put_secret(self, name: str, body: Resource) -> Resource:
        """Store or replace; `body` holds `value`, or `data` with several texts by their keys."""
        return self._json("PUT", f"/homeport/secrets/{part(name)}", body=body)

    def delete_secret(self, name: str) -> Resource:
        return self._json("DELETE", f"/homeport/secrets/{part(name)}")

    # Keys of the installation.

    def list_signing_keys(self) -> Iterator[Resource]:
        """The one that signs first."""
        yield from self._json("GET", "/homeport/signing-keys").get("data") or ()

    def rotate_signing_key(self, *, only: bool) -> list[Resource]:
        """Have a new key sign; `only`: the older ones are void at once. Returns all."""
        return [*(self._json("POST", "/homeport/signing-keys", body={"only": only}).get("data") or ())]

    def retire_signing_key(self, ident: str, *, force: bool) -> Resource:
        return self._json("DELETE", f"/homeport/signing-keys/{part(ident)}", query={"force": "true"} if force else None)

    def rotate_sealing_key(self) -> Resource:
        """Seal with a new key, and what is stored anew; waits for that."""
        return self._json("POST", "/homeport/sealing-keys")

    # Logins of registries.

    def list_registry_logins(self) -> Iterator[Resource]:
        """Registries, users and dates; never a password."""
        yield from self._json("GET", "/homeport/registries").get("data") or ()

    def put_registry_login(self, registry: str, body: Resource) -> Resource:
        """`username` and `password`."""
        return self._json("PUT", f"/homeport/registries/{part(registry)}", body=body)

    def delete_registry_login(self, registry: str) -> Resource:
        return self._json("DELETE", f"/homeport/registries/{part(registry)}")

    # Executions.

    def create_execution(self, job: str, body: Resource) -> Resource:
        """Start an execution; the answer's `executionId` names it. `body` holds `tasks`, and what the contract adds."""
        return self._json("POST", f"/jobs/{part(job)}/executions", body=body)

    def list_executions(self, job: str, *, q: str = "", sort: str = "") -> Iterator[Resource]:
        path = f"/jobs/{part(job)}/executions"
        yield from self._pages(path, EXECUTION_PAGE_LIMIT_MAX, _narrowed(q, sort))

    def recent_executions(self, job: str) -> list[Resource]:
        """The newest executions, one page of them."""
        return self._page(f"/jobs/{part(job)}/executions", {"limit": str(EXECUTION_PAGE_LIMIT_MAX)}).items

    def get_execution(self, job: str, execution: str) -> Resource:
        return self._json("GET", f"/jobs/{part(job)}/executions/{part(execution)}")

    def list_tasks(self, job: str, execution: str, *, q: str = "", sort: str = "") -> Iterator[Resource]:
        path = f"/jobs/{part(job)}/executions/{part(execution)}/tasks"
        yield from self._pages(path, PAGE_LIMIT_MAX, _narrowed(q, sort))

    def cancel_execution(self, job: str, execution: str, *, now: bool = False, grace_s: int | None = None) -> Resource:
        """With `now`, running tasks are stopped, and killed after `grace_s` seconds."""
        query = {"now": "true"} if now else {}
        query |= {"grace": str(grace_s)} if grace_s is not None else {}
        return self._json("DELETE", f"/jobs/{part(job)}/executions/{part(execution)}", query=query)

    def verify_execution(self, execution: str) -> Resource:
        """What a replay of its history finds (Homeport's own). Takes a while for millions of tasks."""
        path = f"/homeport/executions/{part(execution)}/verification"
        return self._json("GET", path, answer_s=REQUEST_TIMEOUT_S)

    def execution_history(self, execution: str) -> Iterator[Resource]:
        """What happened to it, oldest first (Homeport's own)."""
        query = {"limit": str(HISTORY_PAGE_LIMIT_MAX)}
        yield from self._followed(f"/homeport/executions/{part(execution)}/history", query)

    # Asynchronous calls of agents (Homeport's own).

    def list_invocations(self, query: dict[str, str]) -> Iterator[Resource]:
        """Newest first; `query` holds `agent`, `status`, `since` and `until`."""
        yield from self._followed("/homeport/invocations", query)

    def _followed(self, path: str, query: Mapping[str, str]) -> Iterator[Resource]:
        """The items of a list of Homeport's own, of which each answer says after what the `next` one begins."""
        asked: Mapping[str, str] | None = query
        while asked is not None:
            answer = self._json("GET", path, query=asked)
            yield from answer.get("data") or ()
            after = answer.get("next")
            asked = None if after is None else {**query, "after": str(after)}

    def get_invocation(self, ident: str) -> Resource:
        return self._json("GET", f"/homeport/invocations/{part(ident)}")

    def replay_invocation(self, ident: str) -> Resource:
        """The new call."""
        return self._json("POST", f"/homeport/invocations/{part(ident)}/replay", body={})

    def cancel_invocation(self, ident: str) -> Resource:
        return self._json("POST", f"/homeport/invocations/{part(ident)}/cancel", body={})

    def rotate_callback_secret(self, agent: str, trigger: str | None) -> Resource:
        """The new secret, which nothing shows again."""
        body = {"trigger": trigger} if trigger else {}
        return self._json("POST", f"/homeport/agents/{part(agent)}/callback-secret", body=body)

    # Calls of agents and functions, through the gateway.

    def address(self, kind: Kind, name: str, path: str = "") -> str:
        """Where a workload that serves answers."""
        return f"{self.url}/{part(self.workspace)}/{kind.plural}/{part(name)}/{path.lstrip('/')}"

    def call_headers(self, body: bytes = b"") -> dict[str, str]:
        """What a call carries: who calls, and that the body, if there is one, is JSON."""
        headers = {"Authorization": self._headers["Authorization"], "X-Blaxel-Workspace": self.workspace}
        return headers | ({"Content-Type": "application/json"} if body else {})

    @contextmanager
    def call(
        self, kind: Kind, name: str, *, path: str = "", method: str = "POST", body: bytes = b"", stream: bool = False
    ) -> Iterator[httpx.Response]:
        """The program's answer, to be read or iterated inside the `with`. Raises for 400 and above, with what the
        program or the gateway said."""
        headers = self.call_headers(body)
        if kind is Kind.FUNCTION:
            headers["Accept"] = _MCP_ACCEPTS
        elif stream:
            headers |= {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        timeout = httpx.Timeout(REQUEST_TIMEOUT_S, connect=CONNECT_S)
        url = self.address(kind, name, path)
        with (
            self._translated(),
            self._http.stream(method, url, content=body, headers=headers, timeout=timeout) as answer,
        ):
            check(answer)
            yield answer


def _narrowed(q: str, sort: str) -> dict[str, str]:
    return {key: value for key, value in (("q", q), ("sort", sort)) if value}


def _ignored(answer: httpx.Response) -> tuple[Ignored, ...]:
    """What the answer's header says was ignored. One that cannot be read warns of nothing: the order was accepted."""
    try:
        found = json.loads(answer.headers.get(IGNORED_HEADER) or "[]")
        return tuple(Ignored(field=str(one["field"]), why=str(one["why"])) for one in found)
    except (ValueError, TypeError, KeyError):
        return ()
