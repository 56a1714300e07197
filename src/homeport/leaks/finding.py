"""One thing that nobody owns, or that its owner is about to remove."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """kind: what it is, such as `process`. name: which one; with the kind it names the thing from one look to the
    next. why: why nobody owns it. action: what `homeport gc` does about it. age_s: for how long it is there, None where
    nothing says so. pending: somebody is about to remove it, so it is no leak yet. path, pid, started, unit: what the
    removal needs; started is in clock ticks since the boot, so that pid and started name one process."""

    kind: str
    name: str
    why: str
    action: str
    age_s: float | None = None
    pending: bool = False
    path: str | None = None
    pid: int | None = None
    started: int | None = None
    unit: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name

    def to_json(self) -> dict[str, Any]:
        shown = {key: value for key, value in asdict(self).items() if key not in ("started", "unit")}
        return {**shown, "age_s": None if self.age_s is None else round(self.age_s, 1)}
