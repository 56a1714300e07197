"""A client of the API that lives through faults: it repeats, as a careful caller does, until it has an answer.

Every answer is counted by operation and kind. An answer that no fault explains (a 500, a 4xx that nobody asked for) is
a violation and is kept word for word.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import httpx

from homeport.testing.system import System, archive

REPEAT_S = 0.2
ANSWER_S = 20.0  # longer than any pause


class GaveUp(Exception):
    """No answer within the bound, although the faults were over."""


class Control:
    """Thread-safe. `insist_until_s`, on the monotonic clock: when to give up; set once the faults are over."""

    def __init__(self, system: System) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.violations: list[str] = []
        self.insist_until_s: float | None = None
        headers = {"Authorization": f"Bearer {system.key}", "Blaxel-Version": "2026-04-28"}
        self._url = system.url
        self._http = httpx.Client(headers=headers, timeout=httpx.Timeout(ANSWER_S))
        self._plain = httpx.Client(timeout=httpx.Timeout(ANSWER_S))  # for addresses that are their own credential
        self._lock = threading.Lock()

    def close(self) -> None:
        self._http.close()
        self._plain.close()

    def ask(self, what: str, method: str, path: str, **sent: Any) -> httpx.Response | None:
        """One request; None when there is no answer, or one that says to come again (5xx, 429)."""
        return self._counted(what, lambda: self._http.request(method, f"{self._url}{path}", **sent))

    def insist(self, what: str, look: Callable[[], httpx.Response | None], good: Collection[int]) -> httpx.Response:
        """Repeat until the status is one of `good`. Raises `GaveUp`."""
        while True:
            answer = look()
            if answer is not None:
                if answer.status_code in good:
                    return answer
                self.violation(f"{what}: {answer.status_code} {answer.text[:300]}")
            self.wait(what)

    def get(self, what: str, path: str, good: Collection[int] = (200,), **sent: Any) -> httpx.Response:
        return self.insist(what, lambda: self.ask(what, "GET", path, **sent), good)

    def deploy(self, kind: str, name: str, files: dict[str, str], spec: dict[str, Any]) -> None:
        """Deploy until both the order and its archive are answered 200."""
        body, packed = {"metadata": {"name": name}, "spec": spec}, archive(files)
        while True:
            accepted = self._order(kind, name, body)
            if accepted is not None:
                send = partial(self._plain.put, accepted.headers["X-Blaxel-Upload-Url"], content=packed)
                sent = self._counted(f"upload {kind}", send)
                if sent is not None and sent.status_code == 200:
                    return
            # 4xx: the address has ended with the clock's step, or another order came between; the order is made anew.
            self.wait(f"deploy {kind}/{name}")

    def remove(self, path: str) -> None:
        """Delete until it is known to go or to be gone. (409: it already goes.)"""
        self.insist(f"delete {path}", lambda: self.ask("delete", "DELETE", path), (200, 404, 409))

    def violation(self, text: str) -> None:
        with self._lock:
            if text not in self.violations:
                self.violations.append(text)

    def wait(self, what: str) -> None:
        if self.insist_until_s is not None and time.monotonic() > self.insist_until_s:
            raise GaveUp(what)
        time.sleep(REPEAT_S)

    def _order(self, kind: str, name: str, body: dict[str, Any]) -> httpx.Response | None:
        """The answer that names the upload's address; None when there is none yet."""
        query = {"upload": "true"}
        what = f"deploy {kind}"
        answer = self.ask(what, "PUT", f"/v0/{kind}/{name}", params=query, json=body)
        if answer is not None and answer.status_code == 404:
            answer = self.ask(what, "POST", f"/v0/{kind}", params=query, json=body)
        if answer is None or answer.status_code == 409:  # 409: one of that name is just being deleted
            return None
        if answer.status_code != 200:
            self.violation(f"{what}: {answer.status_code} {answer.text[:300]}")
            return None
        return answer

    def _counted(self, what: str, send: Callable[[], httpx.Response]) -> httpx.Response | None:
        try:
            answer: httpx.Response | None = send()
            kind = str(answer.status_code) if answer is not None else ""
        except httpx.HTTPError as exc:
            answer, kind = None, type(exc).__name__
        with self._lock:
            self.answers[what, kind] += 1
        if answer is not None and answer.status_code == 500:
            self.violation(f"{what}: 500 {answer.text[:300]}")
        return None if answer is None or answer.status_code >= 500 or answer.status_code == 429 else answer
