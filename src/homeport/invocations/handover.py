"""What the edge and the server hand to each other about asynchronous calls, on the server's internal socket, as JSON.

    POST /internal/invocations/accept     {"offers": [Offer]}       200 {"answers": [Verdict]}, one for each, in order
    POST /internal/invocations/claim      Claim                     200 Portion
    POST /internal/invocations/report     {"lease", "reports": [Report]}                  200 {}
    POST /internal/invocations/delivered  {"lease", "deliveries": [Delivery]}             200 {}

Every one may be sent again when its answer was not heard. `lease` names one life of the edge process.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeport.invocations.states import AttemptEnd

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A request or an answer: its head, and its body as bytes."""

    headers: Headers
    body: bytes

    def packed(self) -> bytes:
        """One line of JSON, then the body."""
        return json.dumps(self.headers).encode() + b"\n" + self.body

    @classmethod
    def unpacked(cls, packed: bytes) -> "Message":
        head, _, body = packed.partition(b"\n")
        return cls(headers=tuple((name, value) for name, value in json.loads(head)), body=body)

    def to_json(self) -> dict[str, Any]:
        return {"headers": self.headers, "body": base64.b64encode(self.body).decode()}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Message":
        headers = tuple((str(name), str(value)) for name, value in item["headers"])
        return cls(headers=headers, body=base64.b64decode(item["body"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A call that a client makes. `trigger` is empty for `?async=true`; `path` is what the program shall see."""

    id: str
    workspace: str
    agent: str
    trigger: str
    method: str
    path: str
    request: Message

    def to_json(self) -> dict[str, Any]:
        names = ("id", "workspace", "agent", "trigger", "method", "path")
        return {**{name: getattr(self, name) for name in names}, "request": self.request.to_json()}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Offer":
        return cls(**{**item, "request": Message.from_json(item["request"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Status 200: accepted, durably. Else why not, for the client."""

    status: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`holding` are the calls, `delivering` those whose callbacks the edge has in hand: what the store says it has and
    these do not name never reached it. The rooms are how many more it takes."""

    lease: str
    holding: Sequence[str]
    delivering: Sequence[str]
    room: int
    callback_room: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A call that is to be made now, the attempt's number from 1."""

    id: str
    attempt: int
    timeout_s: int
    workspace: str
    agent: str
    method: str
    path: str
    request: Message

    def to_json(self) -> dict[str, Any]:
        names = ("id", "attempt", "timeout_s", "workspace", "agent", "method", "path")
        return {**{name: getattr(self, name) for name in names}, "request": self.request.to_json()}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Work":
        return cls(**{**item, "request": Message.from_json(item["request"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A result that is to be posted to a callback URL now."""

    id: str
    attempt: int
    url: str
    body: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The operator's settings that concern the edge. `allow`: networks (CIDR) that callbacks may reach though they are
    not public."""

    body_bytes: int
    response_bytes: int
    parallel: int
    parallel_callbacks: int
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """The answer to a claim. `cancelled` are calls that the edge holds and a caller has cancelled. `next_in_s`: nothing
    more is due before."""

    works: tuple[Work, ...]
    errands: tuple[Errand, ...]
    cancelled: tuple[str, ...]
    next_in_s: float
    terms: Terms

    def to_json(self) -> dict[str, Any]:
        return {
            "works": [work.to_json() for work in self.works],
            "errands": [plain(errand) for errand in self.errands],
            "cancelled": self.cancelled,
            "next_in_s": self.next_in_s,
            "terms": plain(self.terms),
        }

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Portion":
        terms = item["terms"]
        return cls(
            works=tuple(Work.from_json(one) for one in item["works"]),
            errands=tuple(Errand(**one) for one in item["errands"]),
            cancelled=tuple(item["cancelled"]),
            next_in_s=float(item["next_in_s"]),
            terms=Terms(**{**terms, "allow": tuple(terms["allow"])}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an attempt ended. `answer` is the beginning of what the program answered, `length` the length of it all."""

    id: str
    attempt: int
    end: AttemptEnd
    status: int | None = None
    reason: str = ""
    answer: Message | None = None
    length: int = 0

    def to_json(self) -> dict[str, Any]:
        names = ("id", "attempt", "end", "status", "reason", "length")
        answer = None if self.answer is None else self.answer.to_json()
        return {**{name: getattr(self, name) for name in names}, "answer": answer}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Report":
        answer = None if item["answer"] is None else Message.from_json(item["answer"])
        return cls(**{**item, "end": AttemptEnd(item["end"]), "answer": answer})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How an attempt at a callback ended: the receiver's status, or the reason why there is none."""

    id: str
    attempt: int
    status: int | None = None
    reason: str = ""


def plain(value: Any) -> dict[str, Any]:
    """One of the flat ones as JSON."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
