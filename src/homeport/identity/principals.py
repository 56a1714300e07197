"""Who is calling, as a value: made by the API from a verified key and the account behind it, asked about in `roles`."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """ADMIN and MEMBER are the contract's roles; WORKLOAD is the role of a program's own account: it may call
    workloads and start executions of its workspace and change nothing."""

    ADMIN = "admin"
    MEMBER = "member"
    WORKLOAD = "workload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated caller in one workspace. `sub` is the account's client id, `scopes` what its key is narrowed
    to (`all` for not at all), `name` what people call it; may be empty."""

    sub: str
    workspace: str
    role: Role
    scopes: tuple[str, ...]
    name: str = ""
