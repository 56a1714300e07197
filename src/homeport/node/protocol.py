"""What the node and its driver say to each other on the unix socket. Used by both ends.

A connection carries JSON lines. A request is `{"method": name, "params": {…}}`; its answer is `{"result": …}` or
`{"error": {"reason", "message", "detail", "hint"}}`, the reason being the name of a class in `homeport.core.errors`.
One request at a time on a connection; a caller who wants more opens more. The request `exits` (params: `after`) turns
its connection into a stream of `{"exit": {"seq", "status"}}`, which ends only with the connection.

    start {spec} → status      stop {unit, grace_s} → null     status {unit} → status | null    units {} → [status]
    listening {unit} → [port]  log {unit, offset, limit} → [line]  forget {unit} → null         info {} → {…}
    log_before {unit, before, limit} → [line]          freeze {unit} → null       thaw {unit} → null
    signal {unit, number} → null                       discard_volume {volume} → null
"""

from typing import Any

from homeport.core import errors
from homeport.core.clock import parse_timestamp, timestamp
from homeport.core.units import LogLine, UnitExit, UnitStatus

LINE_BYTES = 16 * 1024 * 1024  # an answer of `log` (4 MB, escaped) or the status of every unit
LOG_LINES = 10_000  # in one answer
CONNECTIONS = 256  # the server holds some ten


def error_to_json(error: errors.HomeportError) -> dict[str, Any]:
    found = {"reason": error.reason, "message": error.message, "detail": error.detail, "hint": error.hint}
    if isinstance(error, errors.Invalid):
        found |= {"field": error.field, "rule": error.rule}
    return found


def error_from_json(data: dict[str, Any]) -> errors.HomeportError:
    """The same error on the caller's side; an unknown reason is an `Internal`."""
    texts = {"detail": data.get("detail", ""), "hint": data.get("hint", "")}
    if data["reason"] == errors.Invalid.reason:
        invalid = errors.Invalid(data["field"], data["rule"], **texts)
        invalid.message = data["message"]  # with the value that the node saw
        return invalid
    known = (errors.Conflict, errors.DriverUnavailable, errors.NotFound, errors.Unsupported)
    kinds = {kind.reason: kind for kind in known}
    return kinds.get(data["reason"], errors.Internal)(data["message"], **texts)


def exit_to_json(end: UnitExit) -> dict[str, Any]:
    return {"seq": end.seq, "status": end.status.to_json()}


def exit_from_json(data: dict[str, Any]) -> UnitExit:
    return UnitExit(seq=data["seq"], status=UnitStatus.from_json(data["status"]))


def line_to_json(line: LogLine) -> list[Any]:
    return [timestamp(line.time), line.stream, line.text, line.offset]


def line_from_json(data: list[Any]) -> LogLine:
    return LogLine(time=parse_timestamp(data[0]), stream=data[1], text=data[2], offset=data[3])
