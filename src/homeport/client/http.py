"""The HTTP client: one method per operation of the API that the command line and programs need.

Synchronous, since both do one thing at a time. Resources are the contract's JSON as dictionaries; errors are those of
`homeport.core.errors` and `homeport.client.errors`. Never retries: the caller knows what may be repeated.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from homeport.client.archive import Archive
from homeport.client.errors import ServerFailed, Unreachable, error_of
from homeport.client.installation import API_PREFIX
from homeport.core.errors import NotFound, Unavailable
from homeport.core.fields import IGNORED_HEADER, Ignored
from homeport.core.ids import Kind
from homeport.core.limits import EXECUTION_PAGE_LIMIT_MAX, PAGE_LIMIT_MAX, REQUEST_TIMEOUT_S

API_VERSION = "2026-04-28"  # lists are {data, meta} from here on
UPLOAD_HEADER = "X-Blaxel-Upload-Url"
_CONNECT_S = 5.0
_ANSWER_S = 60.0  # the control plane answers in milliseconds; a large execution takes seconds to accept
_BLOCK = 256 * 1024

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What `apply` did: the resource as stored, `created` or updated, where to upload its source, if asked, and what of
    the order has no effect."""

    resource: Resource
    created: bool
    upload_url: str | None
    ignored: tuple[Ignored, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which lines of a workload to read. source: "run" or "build". tail: only the last so many lines."""

    source: str = "run"
    follow: bool = False
    execution: str | None = None
    task: str | None = None
    tail: int | None = None


class Homeport:
    """A client of one Homeport and one workspace. Close it, or use it as a context manager.

    `url` is the gateway's, such as http://127.0.0.1:8080; `key` an API key. Every method raises `Unreachable` when
    nothing answers there, and the class of the answer's status otherwise (`NotFound`, `Denied`, …).
    """

    def __init__(self, url: str, key: str, workspace: str = "default", *, start_hint: str = "") -> None:
        self.url = url.rstrip("/")
        self.workspace = workspace
        self._start_hint = start_hint or "Start it with `homeport up`."
        self._headers = {
            "Authorization": f"Bearer {key}",
            "X-Blaxel-Workspace": workspace,
            "Blaxel-Version": API_VERSION,
        }
        # A proxy from the environment cannot reach this machine's loopback.
        local = urlsplit(self.url).hostname in ("127.0.0.1", "::1", "localhost")
        self._http = httpx.Client(timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S), trust_env=not local)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Homeport":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Policies, agents and jobs.

    def list_all(self, kind: Kind) -> Iterator[Resource]:
        """Every resource of a kind, newest first, page by page."""
        yield from self._pages(f"/{kind.plural}", PAGE_LIMIT_MAX)

    def get(self, kind: Kind, name: str) -> Resource:
        return self._json("GET", f"/{kind.plural}/{_part(name)}")

    def delete(self, kind: Kind, name: str) -> Resource:
        return self._json("DELETE", f"/{kind.plural}/{_part(name)}")

    def apply(self, kind: Kind, resource: Resource, *, upload: bool = False) -> Applied:
        """Update the resource, or create it when there is none of that name. With `upload`, ask where its source is
        to be put."""
        name = str(resource.get("metadata", {}).get("name", ""))
        query = {"upload": "true"} if upload else {}
        try:
            answer, created = self._call("PUT", f"/{kind.plural}/{_part(name)}", body=resource, query=query), False
        except NotFound:
            answer, created = self._call("POST", f"/{kind.plural}", body=resource, query=query), True
        return Applied(
            resource=_object(answer),
            created=created,
            upload_url=answer.headers.get(UPLOAD_HEADER),
            ignored=_ignored(answer),
        )

    def upload(self, url: str, archive: Archive) -> None:
        """Put a packed folder where `apply` said. The address is the credential, so no key is sent."""

        def blocks() -> Iterator[bytes]:
            while block := archive.file.read(_BLOCK):
                yield block

        headers = {"Content-Type": "application/zip", "Content-Length": str(archive.size)}
        with self._translated():
            answer = self._http.put(url, content=blocks(), headers=headers)
            _check(answer)

    def explain(self, kind: Kind, name: str) -> Resource:
        """How policies and placement decide about a workload now."""
        return self._json("GET", f"/homeport/explain/{kind.plural}/{_part(name)}")

    def status(self) -> Resource:
        """What runs, and what the operator should know."""
        return self._json("GET", "/homeport/status")

    def logs(self, kind: Kind, name: str, query: LogQuery) -> Iterator[Resource]:
        """Lines `{time, stream, text, replica | task}`, oldest first; with `follow`, until the program or the caller
        ends it."""
        asked: dict[str, str] = {"source": query.source, "follow": "true" if query.follow else "false"}
        asked |= {"execution": query.execution} if query.execution else {}
        asked |= {"task": query.task} if query.task else {}
        asked |= {"tail": str(query.tail)} if query.tail is not None else {}
        # A program may be silent for days, so following waits for each line without a bound; Ctrl-C ends it.
        timeout = httpx.Timeout(None if query.follow else _ANSWER_S, connect=_CONNECT_S)
        url = f"{self.url}{API_PREFIX}/homeport/logs/{kind.plural}/{_part(name)}"
        with (
            self._translated(),
            self._http.stream("GET", url, params=asked, headers=self._headers, timeout=timeout) as answer,
        ):
            _check(answer)
            for line in answer.iter_lines():
                if line.strip():
                    yield _parsed(line)

    # Stored secrets.

    def list_secrets(self) -> Iterator[Resource]:
        """Names and dates."""
        yield from self._json("GET", "/homeport/secrets").get("data") or ()

    def put_secret(self, name: str, body: Resource) -> Resource:
        """Store or replace; `body` holds `value`, or `data` with several texts by their keys."""
        return self._json("PUT", f"/homeport/secrets/{_part(name)}", body=body)

    def delete_secret(self, name: str) -> Resource:
        return self._json("DELETE", f"/homeport/secrets/{_part(name)}")

    # Executions.

    def create_execution(self, job: str, body: Resource) -> Resource:
        """Start an execution; the answer's `executionId` names it. `body` holds `tasks`, and what the contract adds."""
        return self._json("POST", f"/jobs/{_part(job)}/executions", body=body)

    def list_executions(self, job: str) -> Iterator[Resource]:
        yield from self._pages(f"/jobs/{_part(job)}/executions", EXECUTION_PAGE_LIMIT_MAX)

    def get_execution(self, job: str, execution: str) -> Resource:
        return self._json("GET", f"/jobs/{_part(job)}/executions/{_part(execution)}")

    def list_tasks(self, job: str, execution: str) -> Iterator[Resource]:
        yield from self._pages(f"/jobs/{_part(job)}/executions/{_part(execution)}/tasks", PAGE_LIMIT_MAX)

    def cancel_execution(self, job: str, execution: str) -> Resource:
        return self._json("DELETE", f"/jobs/{_part(job)}/executions/{_part(execution)}")

    # Calls of agents, through the gateway.

    def agent_url(self, name: str, path: str = "") -> str:
        """Where an agent answers."""
        return f"{self.url}/{_part(self.workspace)}/agents/{_part(name)}/{path.lstrip('/')}"

    @contextmanager
    def call_agent(
        self, name: str, *, path: str = "", method: str = "POST", body: bytes = b"", stream: bool = False
    ) -> Iterator[httpx.Response]:
        """The agent's answer, to be read or iterated inside the `with`. Raises for 400 and above, with what the agent
        or the gateway said."""
        headers = {"Authorization": self._headers["Authorization"], "X-Blaxel-Workspace": self.workspace}
        headers |= {"Content-Type": "application/json"} if body else {}
        headers |= {"Accept": "text/event-stream", "Cache-Control": "no-cache"} if stream else {}
        timeout = httpx.Timeout(REQUEST_TIMEOUT_S, connect=_CONNECT_S)
        url = self.agent_url(name, path)
        with (
            self._translated(),
            self._http.stream(method, url, content=body, headers=headers, timeout=timeout) as answer,
        ):
            _check(answer)
            yield answer

    def _pages(self, path: str, limit: int) -> Iterator[Resource]:
        cursor = ""
        seen: set[str] = set()
        while True:
            query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
            page = self._json("GET", path, query=query)
            yield from page.get("data") or ()
            cursor = str(page.get("meta", {}).get("nextCursor") or "")
            if not cursor or not page["meta"].get("hasMore"):
                return
            if cursor in seen:
                raise ServerFailed("The server repeats a page of the list without end.")
            seen.add(cursor)

    def _json(
        self, method: str, path: str, *, body: Resource | None = None, query: Mapping[str, str] | None = None
    ) -> Resource:
        return _object(self._call(method, path, body=body, query=query))

    def _call(
        self, method: str, path: str, *, body: Resource | None = None, query: Mapping[str, str] | None = None
    ) -> httpx.Response:
        url = f"{self.url}{API_PREFIX}{path}"
        with self._translated():
            answer = self._http.request(method, url, json=body, params=query, headers=self._headers)
            _check(answer)
        return answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as exc:
            raise Unreachable(f"No Homeport answers at {self.url}.", hint=self._start_hint) from exc
        except httpx.TimeoutException as exc:
            raise Unavailable(f"{self.url} did not answer in time.", hint="See `homeport status`.") from exc
        except (httpx.TransportError, httpx.InvalidURL) as exc:
            raise Unreachable(f"The connection to {self.url} broke: {exc}.", hint=self._start_hint) from exc


def _check(answer: httpx.Response) -> None:
    if answer.status_code < 400:
        return
    text = answer.read().decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    raise error_of(answer.status_code, body, text)


def _object(answer: httpx.Response) -> Resource:
    return _parsed(answer.text)


def _parsed(text: str) -> Resource:
    try:
        parsed = json.loads(text)
    except ValueError as exc:
        raise ServerFailed(f"The server's answer is not JSON: {text[:200]!r}.") from exc
    if not isinstance(parsed, dict):
        raise ServerFailed(f"The server's answer is not an object: {text[:200]!r}.")
    return parsed


def _part(name: str) -> str:
    return quote(name, safe="")


def _ignored(answer: httpx.Response) -> tuple[Ignored, ...]:
    """What the answer's header says was ignored. One that cannot be read warns of nothing: the order was accepted."""
    try:
        found = json.loads(answer.headers.get(IGNORED_HEADER) or "[]")
        return tuple(Ignored(field=str(one["field"]), why=str(one["why"])) for one in found)
    except (ValueError, TypeError, KeyError):
        return ()
