"""What a store promises of asynchronous calls; see `homeport.store.contract`. Passes
`homeport.testing.store_suite_invocations`."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from homeport.invocations.shares import Waiting
from homeport.store.invocation_records import (
    Callback,
    Invocation,
    InvocationAttempt,
    InvocationPage,
    InvocationQuery,
    Schedule,
    UnderWay,
)
from homeport.store.sealed import Sealed


class Invocations(Protocol):
    """Calls with their attempts and callbacks. Whoever writes decides what a status means."""

    def add(self, calls: Sequence[Invocation], requests: Sequence[bytes]) -> list[Invocation]:
        """Accept them in this order, `number` given by the store. One whose id is there already is left as it is:
        whoever did not hear the answer may ask again. Returns those that are new."""
        ...

    def get(self, ident: str) -> Invocation | None: ...

    def numbered(self, numbers: Collection[int]) -> dict[int, Invocation]: ...

    def page(self, query: InvocationQuery) -> InvocationPage: ...

    def requests(self, numbers: Sequence[int]) -> dict[int, bytes]: ...

    def response(self, number: int) -> bytes | None: ...

    def set_responses(self, responses: dict[int, bytes]) -> None: ...

    def queues(self, now: datetime, most: int) -> list[Waiting]:
        """Every agent with queued calls; its due ones are counted up to `most`. Answered by indexes, however long the
        queues are."""
        ...

    def next_at(self) -> datetime | None:
        """When the next queued call or waiting callback is due; a moment that is past if one is due now."""
        ...

    def due(self, agent_uid: str, limit: int, now: datetime) -> list[Invocation]:
        """Queued calls whose `not_before` has come, the one that is due longest first. One further ahead than any
        back-off has come, too: the clock was set back meanwhile."""
        ...

    def queued(self, agent_uid: str, limit: int) -> list[Invocation]: ...

    def waits_more_than(self, agent_uid: str, count: int) -> bool:
        """Whether more than `count` calls of the agent are queued."""
        ...

    def count_open(self) -> tuple[int, int]:
        """How many calls are queued and running."""
        ...

    def by_ids(self, idents: Sequence[str]) -> list[Invocation]:
        """Those that are there, in no order."""
        ...

    def under_way(self) -> list[UnderWay]:
        """What is running, in a few words: asked at every turn of the edge."""
        ...

    def change(self, calls: Sequence[Invocation]) -> None:
        """Write everything of them that changes after acceptance."""
        ...

    def add_attempts(self, attempts: Sequence[InvocationAttempt]) -> None: ...

    def end_attempts(self, attempts: Sequence[InvocationAttempt]) -> None: ...

    def drop_attempts(self, dropped: Sequence[tuple[int, int]]) -> None:
        """By the numbers of call and attempt."""
        ...

    def attempts(self, number: int) -> list[InvocationAttempt]:
        """In order of number."""
        ...

    def add_callbacks(self, callbacks: Sequence[Callback]) -> None: ...

    def callback(self, number: int) -> Callback | None: ...

    def due_callbacks(self, limit: int, now: datetime) -> list[Callback]:
        """As `due`, of waiting callbacks."""
        ...

    def sending(self) -> list[Callback]: ...

    def change_callbacks(self, callbacks: Sequence[Callback]) -> None: ...

    def sweepable(self, before: datetime, keep: int, limit: int) -> list[int]:
        """The numbers of at most `limit` calls that ended before this moment, or after which `keep` of the same agent
        were accepted; none whose callback is under way."""
        ...

    def remove(self, numbers: Sequence[int]) -> None:
        """With everything of them."""
        ...

    def rewrite_bodies(self, change: Callable[[Invocation, bytes], bytes], only: Sealed | None = None) -> int:
        """As `Resources.rewrite_specs`, for every request and response."""
        ...

    def rewrite_callback_secrets(self, change: Callable[[Invocation], str], only: Sealed | None = None) -> int:
        """As `Resources.rewrite_specs`, for those that have one."""
        ...


class Schedules(Protocol):
    """When agents call themselves. They go with their agent."""

    def of(self, resource_uid: str) -> list[Schedule]: ...

    def set(self, resource_uid: str, wanted: Sequence[Schedule]) -> None:
        """In place of those that the agent had."""
        ...

    def due(self, now: datetime, limit: int) -> list[Schedule]:
        """Those whose `next_at` has come, the earliest first."""
        ...

    def next_at(self) -> datetime | None: ...

    def check(self, schedule: Schedule) -> None:
        """Write `checked_at` and `next_at`."""
        ...
