"""One line of output is one line of NDJSON, for clients that end lines at other characters, too."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from homeport.api.homeport import _lines
from homeport.app.logs import Record
from homeport.core.ids import UnitId
from homeport.core.units import UnitKind, UnitState, UnitStatus

TEXT = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\rj\x1b[2J\0ü"


async def test_what_programs_print_never_breaks_a_line() -> None:
    unit = UnitStatus(id=UnitId("u"), kind=UnitKind.TASK, state=UnitState.RUNNING)

    async def records() -> AsyncIterator[Record]:
        for _ in range(2):
            yield Record(time=datetime(2026, 1, 1, tzinfo=UTC), stream="stdout", text=TEXT, unit=unit, offset=0)

    answer = "".join([line async for line in _lines(records())])
    assert [json.loads(line)["text"] for line in answer.splitlines()] == [TEXT] * 2
