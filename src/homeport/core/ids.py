"""Identifiers: their types, how they are made, and the contract's rule for names.

Names are chosen by callers and unique by kind in a workspace; ids are made here and never reused.
"""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NewType

from homeport.core.errors import Invalid

RevisionId = NewType("RevisionId", str)
ReplicaId = NewType("ReplicaId", str)
ExecutionId = NewType("ExecutionId", str)
UnitId = NewType("UnitId", str)

DEFAULT_WORKSPACE = "default"  # the first, which the first start makes
TASK_PREFIX = "task-"  # public contract: tasks are named task-0, task-1, …

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,47}[a-z0-9])?")


class Kind(StrEnum):
    """The kinds that this version serves. An image's name is `KIND/NAME`, of the workload that it is built for."""

    POLICY = "policy"
    AGENT = "agent"
    FUNCTION = "function"
    JOB = "job"
    IMAGE = "image"
    VOLUME = "volume"

    @property
    def plural(self) -> str:
        return "policies" if self is Kind.POLICY else f"{self.value}s"

    @property
    def serves(self) -> bool:
        """Whether its programs answer requests, behind the gateway; a job's run to their end."""
        return self in SERVING


SERVING = (Kind.AGENT, Kind.FUNCTION)
"""The kinds that serve requests: replicas behind the gateway."""
WORKLOADS = (*SERVING, Kind.JOB)
"""The kinds that run."""
WRITTEN = (Kind.POLICY, Kind.VOLUME, *WORKLOADS)
"""The kinds that callers describe by metadata and spec; images come from builds."""


def new_id(prefix: str, length: int = 10) -> str:
    """A fresh id such as `rev-k3v9…`: `prefix`, a hyphen, and `length` letters and digits that are easy to read."""
    return f"{prefix}-{_random(length)}"


def new_key_id() -> str:
    """A fresh id of an API key, which the contract writes `ak_…`."""
    return f"ak_{_random(20)}"


def _random(length: int) -> str:
    # One call for all of them; each character is as likely as another, since there are 32.
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in _source.randbytes(length))


_source: random.Random = random.SystemRandom()


@contextmanager
def drawn_from(source: random.Random) -> Iterator[None]:
    """Every id made meanwhile comes from `source`: for simulations, which repeat. Ids are secrets elsewhere."""
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before


def check_name(name: object, field: str = "metadata.name") -> str:
    """Return `name` if it follows the contract's rule (public API reference), else raise `Invalid`."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    rule = "must be 1 to 49 lower-case letters, digits and hyphens, starting and ending with a letter or digit"
    raise Invalid(field, rule, value=name)
