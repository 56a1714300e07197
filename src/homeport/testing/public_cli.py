"""The requests of the public command line, in its order, with its headers and its idea of what an answer means.

Stands in for the program itself where that cannot be had. Written down from watching version 0.1.108 (the public CLI's
SDK 0.25.0). What its users type is `tests/e2e/test_public_cli.py`.
"""

import base64
import io
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import Any, Self

import httpx

from homeport.core.clock import SystemClock

USER_AGENT = "blaxel/cli/golang/0.1.108 (linux/amd64) blaxel/c47b38a"
GO = "Go-http-client/1.1"
RETRIED = (408, 409, 429)  # and everything from 500 on
ATTEMPTS = 3
FIRST_LOOK_S, LOOK_S = 1.0, 3.0  # of an interactive deployment, after its upload
LOGS_AFTER_S, LOGS_S = 2.2, 2.0  # of its build's log, after it first saw BUILDING
PUSH_LOOK_S = 5.0  # of a push
ALL_LEVELS = "FATAL,ERROR,WARNING,INFO,DEBUG,TRACE,UNKNOWN"
BUILD_LEVELS = "all,UNKNOWN,TRACE,DEBUG,INFO,WARNING,ERROR,FATAL"
FAILURES = ("FAILED", "DEACTIVATED", "DEACTIVATING", "DELETING")


class CliError(Exception):
    """What the command line prints before it exits with 1."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


@dataclass(slots=True)
class Watched:
    """An interactive deployment as it was shown: the statuses that it went through, the build's lines, how long."""

    statuses: list[str] = field(default_factory=list)
    lines: dict[tuple[str, str], str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def log(self) -> list[str]:
        return [message for (_, message), _ in sorted(self.lines.items())]


class PublicCli:
    """`api` ends in /v0, as BL_API_URL must. Either an API key or a token signs the requests, each in its header."""

    def __init__(self, api: str, run: str, workspace: str, *, key: str = "", token: str = "") -> None:
        self._api, self._run, self._workspace = api, run, workspace
        signed = {"Authorization": f"Bearer {key}"} if key else {"X-Blaxel-Authorization": f"Bearer {token}"}
        self._headers = {
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Blaxel-Version": "2026-04-28",
            "X-Blaxel-Workspace": workspace,
            "X-Stainless-Lang": "go",
            "X-Stainless-Package-Version": "0.25.0",
            "X-Stainless-Os": "Linux",
            "X-Stainless-Arch": "x64",
            "X-Stainless-Runtime": "go",
            "X-Stainless-Runtime-Version": "go1.25.0",
            **signed,
        }
        self._http = httpx.Client(timeout=60)
        self.sent: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # Requests

    def send(self, method: str, url: str, **more: Any) -> httpx.Response:
        """One call of the CLI's SDK, repeated as it repeats: unless the answer forbids it."""
        body = {"Content-Type": "application/json"} if method in ("POST", "PUT", "PATCH") else {}
        for attempt in range(ATTEMPTS):
            headers = {**self._headers, **body, "X-Stainless-Retry-Count": str(attempt)}
            answer = self._http.request(method, url, headers=headers, **more)
            self.sent.append((method, url))
            again = answer.status_code in RETRIED or answer.status_code >= 500
            if (wish := answer.headers.get("x-should-retry")) is not None:
                again = wish == "true"
            if not again:
                break
            time.sleep(0.5)
        return answer

    def decoded(self, method: str, path: str, **more: Any) -> Any:
        """The answer as the CLI decodes it: only JSON that says so counts, of a deletion too."""
        answer = self.send(method, f"{self._api}/{path}", **more)
        if answer.status_code >= 400:
            raise CliError(answer.status_code, _clean(answer))
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if kind != "application/json" and not kind.endswith("+json"):
            raise CliError(answer.status_code, f"expected JSON, not {kind!r}")
        return answer.json()

    # Commands

    def login(self) -> str:
        """`bl login WORKSPACE`: asks twice, once to be sure and once for the id. Returns the id."""
        self.decoded("GET", f"workspaces/{self._workspace}")
        found = self.decoded("GET", f"workspaces/{self._workspace}")
        assert found["name"] == self._workspace
        return str(found["id"])

    def get(self, kind: str, limit: int = 200, every: bool = False) -> list[dict[str, Any]]:
        """`bl get KIND`, newest first; `every` is its --all."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            asked = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
            page = self.decoded("GET", kind, params=asked)
            items += page["data"]
            cursor = page["meta"]["nextCursor"]
            if not (every and page["meta"]["hasMore"] and cursor):
                break
        assert all(item.get("status", "") is not None for item in items), "the CLI panics on a null status"
        return sorted(items, key=lambda item: str(item["metadata"]["createdAt"]), reverse=True)

    def get_one(self, kind: str, name: str) -> dict[str, Any]:
        found = self.decoded("GET", f"{kind}/{name}")
        assert isinstance(found, dict) and found.get("status", "") is not None
        return found

    def delete(self, kind: str, name: str) -> dict[str, Any]:
        found = self.decoded("DELETE", f"{kind}/{name}")
        assert isinstance(found, dict)
        return found

    def apply(self, kind: str, body: Mapping[str, Any], upload: bool = False) -> tuple[str, httpx.Response]:
        """PUT, and POST where there is none yet: what was done, and the answer."""
        query = {"upload": "true"} if upload else None
        name = body["metadata"]["name"]
        answer = self.send("PUT", f"{self._api}/{kind}/{name}", json=body, params=query)
        done = "configured"
        if answer.status_code in (404, 405):
            answer, done = self.send("POST", f"{self._api}/{kind}", json=body, params=query), "created"
        if answer.status_code >= 400:
            raise CliError(answer.status_code, _clean(answer))
        return done, answer

    def deploy(self, kind: str, name: str, files: Mapping[str, str], runtime: Mapping[str, Any]) -> httpx.Response:
        """`bl deploy` without a terminal: it does not wait."""
        for listed in ("models", "functions", "agents"):
            self.send("GET", f"{self._api}/{listed}", params={"limit": "200"})
        body = {
            "metadata": {"name": name, "labels": {"x-blaxel-auto-generated": "true"}},
            "spec": {"runtime": {"envs": [], **runtime}},
        }
        _, answer = self.apply(kind, body, upload=True)
        _put(answer.headers["X-Blaxel-Upload-Url"], files)
        return answer

    def deploy_built(self, kind: str, name: str, runtime: Mapping[str, Any]) -> httpx.Response:
        """`bl deploy --skip-build`: with the image that was read back, and without an archive."""
        image = (self.get_one(kind, name)["spec"].get("runtime") or {}).get("image")
        if not image:
            raise CliError(0, f"{name} has no image")
        spec = {"runtime": {"envs": [], **runtime, "image": image}}
        _, answer = self.apply(kind, {"metadata": {"name": name, "labels": {}}, "spec": spec})
        assert "X-Blaxel-Upload-Url" not in answer.headers
        return answer

    def push(self, kind: str, name: str, files: Mapping[str, str], bound_s: float) -> list[str]:
        """`bl push` of a folder; returns what it showed of the build. Raises `CliError` where that failed."""
        body = {"name": name, "resourceType": kind}
        answer = self.send("POST", f"{self._api}/images", json=body, params={"upload": "true"})
        if answer.status_code >= 400:
            raise CliError(answer.status_code, _clean(answer))
        _put(answer.headers["X-Blaxel-Upload-Url"], files)
        watched, began, start = Watched(), time.monotonic(), _moment(0)
        look_due = began + PUSH_LOOK_S
        while time.monotonic() - began < bound_s:
            time.sleep(LOGS_S)
            self._read_build(f"{kind}s", name, start, watched)
            if time.monotonic() < look_due:
                continue
            look_due += PUSH_LOOK_S
            shown = self.send("GET", f"{self._api}/images/{kind}/{name}")
            status = shown.json()["metadata"]["status"] if shown.status_code == 200 else ""
            if status == "FAILED":
                raise CliError(0, f"{name}: {status}")
            if status == "BUILT":
                return watched.log
        raise TimeoutError(f"{name} is not built")

    def watch(self, kind: str, name: str, bound_s: float) -> Watched:
        """What `bl deploy` does next in a terminal. Raises `CliError` when the deployment failed, TimeoutError where
        the program would wait for its hour."""
        watched, began = Watched(), time.monotonic()
        time.sleep(FIRST_LOOK_S)
        shown = initial = self._status(kind, name)
        watched.statuses.append(initial)
        saw_building: float | None = None
        log_due, start = float("inf"), ""
        look_due = time.monotonic() + LOOK_S
        while time.monotonic() - began < bound_s:
            time.sleep(max(0.0, min(look_due, log_due) - time.monotonic()))
            if log_due <= time.monotonic():
                self._read_build(kind, name, start, watched)
                log_due += LOGS_S
                continue
            look_due += LOOK_S
            status = self._status(kind, name)
            if status == shown and not (status == "BUILDING" and saw_building is None):
                continue
            shown = status
            watched.statuses.append(status)
            if status == "BUILDING":
                saw_building, start = time.monotonic(), _moment(0)
                log_due = saw_building + LOGS_AFTER_S
            elif status == "DEPLOYED" and saw_building is not None:
                break
            elif status in FAILURES and (status != "FAILED" or initial != "FAILED" or saw_building is not None):
                raise CliError(0, f"{name}: {status}")
        else:
            raise TimeoutError(f"{name} was shown {watched.statuses} and nothing that ends it")
        if start:
            self._read_build(kind, name, start, watched)
        watched.seconds = time.monotonic() - began
        return watched

    def run(self, kind: str, name: str, path: str, data: str, **params: str) -> httpx.Response:
        """`bl run KIND NAME -d DATA --params …`: the user's parameters go with the look-up, too."""
        found = self.send("GET", f"{self._api}/{kind}/{name}", params=params)
        base = found.json()["metadata"]["url"] if found.status_code == 200 else ""
        url = base or f"{self._run}/{self._workspace}/{kind}/{name}"
        answer = self.send("POST", f"{url}/{path}", content=data.encode(), params=params)
        if answer.status_code >= 400:
            raise CliError(answer.status_code, answer.text)
        return answer

    def run_job(self, name: str, data: str) -> str:
        """The id that `bl run job` prints: eight characters of it."""
        reply = self.run("jobs", name, "executions", data).json()
        return str(reply.get("execution_id") or reply.get("executionId") or reply["id"])[:8]

    def logs(self, kind: str, name: str, since_s: float = 3600, **more: str) -> list[str]:
        """`bl logs`, oldest first as it prints them."""
        found = self._find_logs(kind, name, _moment(-since_s), _moment(24 * 3600), **more)
        return [line["message"] for line in reversed((found.get(name) or {}).get("logs") or [])]

    # What these have in common

    def _status(self, kind: str, name: str) -> str:
        return str(self.get_one(kind, name).get("status") or "UNKNOWN")

    def _read_build(self, kind: str, name: str, start: str, watched: Watched) -> None:
        found = self._find_logs(kind, name, start, _moment(3600), severity=BUILD_LEVELS)[name]
        for line in found["logs"]:
            assert isinstance(line["severity"], int)
            watched.lines[(line["timestamp"], line["message"])] = line["message"]

    def _find_logs(self, kind: str, name: str, start: str, end: str, **more: str) -> Any:
        asked = {
            "start": start,
            "end": end,
            "resourceType": kind,
            "workloadIds": name,
            "type": "all",
            "traceId": "",
            "limit": "1000",
            "offset": "0",
            "severity": ALL_LEVELS,
            "search": "",
            "taskId": "",
            "executionId": "",
            "interval": "60",
            "workspace": self._workspace,
        }
        return self.decoded("GET", "observability/logs", params={**asked, **more})


def _put(url: str, files: Mapping[str, str]) -> None:
    """The archive goes by Go's plain client: no workspace, no credential, and 200 is the only success."""
    headers = {"User-Agent": GO, "Content-Type": "application/zip"}
    sent = httpx.put(url, content=packed(files), headers=headers, timeout=60)
    if sent.status_code != 200:
        raise CliError(sent.status_code, sent.text)


def fetch_token(api: str, client_id: str, secret: str) -> str:
    """`bl login` with client credentials: the token of this process. Go's plain client asks."""
    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    answer = httpx.post(
        f"{api}/oauth/token",
        json={"grant_type": "client_credentials"},
        headers={"Authorization": f"Basic {basic}", "User-Agent": GO, "Accept-Encoding": "gzip"},
    )
    if answer.status_code != 200 or not answer.json()["access_token"] or answer.json()["expires_in"] <= 10:
        raise CliError(answer.status_code, answer.text)
    return str(answer.json()["access_token"])


def packed(files: Mapping[str, str]) -> bytes:
    """The archive as the CLI makes it: deflated, an entry for each directory, modes as on disk, and at the end
    variables for the build, without a mode."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        known: set[str] = set()
        for path, text in files.items():
            for parent in _parents(path):
                if parent not in known:
                    archive.writestr(_entry(parent, 0o40755), b"")
                    known.add(parent)
            archive.writestr(_entry(path, 0o100644), text)
        archive.writestr(zipfile.ZipInfo(".env.build"), "BUILD_NOTE=hello\n")
    return buffer.getvalue()


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: number + 1]) + "/" for number in range(len(parts))]


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = mode << 16
    return entry


def _moment(seconds: float) -> str:
    """So many seconds from now, as the CLI writes times: in UTC without a zone, in whole seconds."""
    moment = SystemClock().now().astimezone(UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _clean(answer: httpx.Response) -> str:
    """The sentence out of a flat error body; else the whole line."""
    readers: tuple[Callable[[Any], Any], ...] = (lambda body: body["message"], lambda body: body["error"])
    for read in readers:
        try:
            if isinstance(found := read(answer.json()), str):
                return found
        except (ValueError, KeyError, TypeError):
            continue
    return f'{answer.request.method} "{answer.request.url}": {answer.status_code} {answer.text}'
