"""Found log lines on the wire, as the public CLI reads them."""

from pydantic import Field, RootModel

from homeport.wire.body import Reply


class FoundLogLine(Reply):
    """`timestamp` is RFC 3339; no two lines of a program have the same. `severity` is OpenTelemetry's number."""

    timestamp: str
    message: str
    severity: int
    trace_id: str = Field(default="", alias="trace_id")


class WorkloadLogs(Reply):
    """Newest first. `total_count` counts the matches among the lines that were looked at."""

    logs: list[FoundLogLine]
    total_count: int


class FoundLogs(RootModel[dict[str, WorkloadLogs]]):
    """By the name of the workload."""
