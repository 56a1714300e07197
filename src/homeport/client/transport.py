"""Requests and answers of the client: headers, pages, timeouts, and what goes wrong as errors.

Used by `homeport.client.http`, which names the operations. Synchronous, since its callers do one thing at a time.
Never retries: the caller knows what may be repeated.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from homeport.client.errors import ServerFailed, Unreachable, error_of
from homeport.client.installation import API_PREFIX, LOOPBACK
from homeport.core.errors import Invalid, Unavailable

API_VERSION = "2026-04-28"  # lists are {data, meta} from here on
CONNECT_S = 5.0
ANSWER_S = 60.0  # the control plane answers in milliseconds; a large execution takes seconds to accept

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list. cursor: where the next one begins, empty at the end. total: items of the kind, whatever
    the filters."""

    items: list[Resource]
    cursor: str
    total: int


class Transport:
    """Connections to one Homeport and one workspace. Close it, or use it as a context manager.

    `url` is the gateway's, such as http://127.0.0.1:8080; `key` an API key; `answer_s` the most that an answer may
    take; `waiting` is entered around every request, with what is waited for in words. Every operation raises
    `Unreachable` when nothing answers there, and the class of the answer's status otherwise (`NotFound`, `Denied`, …).
    """

    def __init__(
        self,
        url: str,
        key: str,
        workspace: str = "default",
        *,
        start_hint: str = "",
        answer_s: float = ANSWER_S,
        waiting: Callable[[str], AbstractContextManager[None]] = lambda text: nullcontext(),
    ) -> None:
        self.url = checked_url(url)
        self.workspace = _header(workspace, "workspace")
        self._start_hint = start_hint or "Start it with `homeport up`."
        self._waiting = waiting
        self._headers = {
            "Authorization": f"Bearer {_header(key, 'API key')}",
            "X-Blaxel-Workspace": workspace,
            "Blaxel-Version": API_VERSION,
        }
        # A proxy from the environment cannot reach this machine's loopback.
        local = urlsplit(self.url).hostname in LOOPBACK
        timeout = httpx.Timeout(answer_s, connect=min(CONNECT_S, answer_s))
        self._http = httpx.Client(timeout=timeout, trust_env=not local)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _page(self, path: str, query: Mapping[str, str]) -> Page:
        answer = self._json("GET", path, query=query)
        meta = answer.get("meta") or {}
        cursor = str(meta.get("nextCursor") or "") if meta.get("hasMore") else ""
        return Page(items=list(answer.get("data") or ()), cursor=cursor, total=int(meta.get("total") or 0))

    def _pages(self, path: str, limit: int, narrowed: Mapping[str, str] | None = None) -> Iterator[Resource]:
        query = {"limit": str(limit), **(narrowed or {})}
        seen: set[str] = set()
        while True:
            page = self._page(path, query)
            yield from page.items
            if not page.cursor:
                return
            if page.cursor in seen:
                raise ServerFailed("The server repeats a page of the list without end.")
            seen.add(page.cursor)
            query = {**query, "cursor": page.cursor}

    def _json(
        self,
        method: str,
        path: str,
        *,
        body: Resource | None = None,
        query: Mapping[str, str] | None = None,
        answer_s: float | None = None,
    ) -> Resource:
        return parsed_object(self._call(method, path, body=body, query=query, answer_s=answer_s).text)

    def _array(self, path: str) -> list[Resource]:
        """A list that has no pages in any version."""
        found = _parsed(self._call("GET", path).text)
        if not isinstance(found, list):
            raise ServerFailed(f"The server's answer is not a list: {str(found)[:200]!r}.")
        return found

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Resource | None = None,
        query: Mapping[str, str] | None = None,
        answer_s: float | None = None,
    ) -> httpx.Response:
        """answer_s: the most that this answer may take, where it is not what the others may."""
        url = f"{self.url}{API_PREFIX}{path}"
        timeout = self._http.timeout if answer_s is None else httpx.Timeout(answer_s, connect=CONNECT_S)
        with self._waiting(f"waiting for {self.url}"), self._translated():
            answer = self._http.request(method, url, json=body, params=query, headers=self._headers, timeout=timeout)
            check(answer)
        return answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as exc:
            raise Unreachable(f"No Homeport answers at {self.url}.", hint=self._start_hint) from exc
        except httpx.TimeoutException as exc:
            raise Unavailable(f"{self.url} did not answer in time.", hint="See `homeport status`.") from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise Unreachable(f"The connection to {self.url} broke: {exc}.", hint=self._start_hint) from exc


def checked_url(url: str) -> str:
    """`url` without a slash at its end. Raises `Invalid` for what is no address of a web server."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid("URL", "must be http:// or https:// with a host, such as http://127.0.0.1:8080", value=url)
    return url.rstrip("/")


def _header(value: str, what: str) -> str:
    """`value` if it can stand in a header. Its text is not repeated: it may be a secret."""
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        raise Invalid(what, "must be printable ASCII without blanks around it")
    return value


def check(answer: httpx.Response) -> None:
    """Raise what an answer of 400 and above stands for."""
    if answer.status_code < 400:
        return
    text = answer.read().decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    raise error_of(answer.status_code, body, text)


def parsed_object(text: str) -> Resource:
    """`text` as the JSON object that it must be. Raises `ServerFailed`."""
    found = _parsed(text)
    if not isinstance(found, dict):
        raise ServerFailed(f"The server's answer is not an object: {text[:200]!r}.")
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ServerFailed(f"The server's answer is not JSON: {text[:200]!r}.") from exc


def part(name: str) -> str:
    """`name` as one segment of a path."""
    return quote(name, safe="")
