"""`GET /v0/observability/logs` as the public CLI asks and reads it, on units that a test writes for."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from homeport.app.log_search import BUILD_LINGER_S, LINES_EXAMINED
from homeport.core.ids import Kind, UnitId
from homeport.core.units import Outcome, UnitKind
from homeport.identity.principals import Role
from homeport.testing.control_plane import AWAY, HOME, ControlPlane
from homeport.testing.driver_suite import unit_spec
from homeport.testing.scripted_driver import ScriptedDriver

ADDRESS = "/v0/observability/logs"
DONE = Outcome(exit_code=0)


class Printer:
    """A workload whose units print what a test says, at the control plane's time."""

    def __init__(self, plane: ControlPlane, kind: Kind, name: str, uid: str) -> None:
        driver = plane.context.drivers["scripted"]
        assert isinstance(driver, ScriptedDriver)
        self.plane, self.kind, self.name, self._uid, self._driver = plane, kind, name, uid, driver

    async def unit(self, kind: UnitKind = UnitKind.REPLICA, **labels: str) -> UnitId:
        spec = unit_spec(("x",), kind=kind, labels={"resource": self._uid, **labels})
        await self._driver.start(spec)
        return spec.id

    def prints(self, unit: UnitId, *lines: str, stream: str = "stdout") -> None:
        for line in lines:
            self._driver.write(unit, line, stream)

    def ends(self, unit: UnitId) -> None:
        self._driver.finish(unit, DONE)

    def at(self, seconds: float) -> str:
        """A time as the CLI writes it: in UTC without a zone, in whole seconds."""
        return (self.plane.clock.moment + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")

    async def ask(self, start_s: float = -3600, end_s: float = 3600, **more: Any) -> httpx.Response:
        """Every parameter that the public CLI sends, in its form; times in seconds from now."""
        asked = {
            "start": self.at(start_s),
            "end": self.at(end_s),
            "resourceType": self.kind.plural,
            "workloadIds": self.name,
            "type": "all",
            "traceId": "",
            "limit": "1000",
            "offset": "0",
            "severity": "FATAL,ERROR,WARNING,INFO,DEBUG,TRACE,UNKNOWN",
            "search": "",
            "taskId": "",
            "executionId": "",
            "interval": "60",
            "workspace": HOME,
        }
        return await self.plane.api.get(ADDRESS, params={**asked, **more})

    async def texts(self, start_s: float = -3600, end_s: float = 3600, **more: Any) -> list[str]:
        answer = await self.ask(start_s, end_s, **more)
        assert answer.status_code == 200, answer.text
        return [line["message"] for line in answer.json()[self.name]["logs"]]


async def printer(plane: ControlPlane, kind: Kind, name: str) -> Printer:
    body = {"metadata": {"name": name}, "spec": {}}
    answer = await plane.api.post(f"/v0/{kind.plural}", params={"upload": "true"}, json=body)
    assert answer.status_code == 200, answer.text
    resource = await plane.context.store.read(lambda tx: tx.resources.get(HOME, kind, name))
    assert resource is not None
    return Printer(plane, kind, name, resource.uid)


@pytest.fixture
async def agent(plane: ControlPlane) -> Printer:
    return await printer(plane, Kind.AGENT, "echo")


@pytest.fixture
async def job(plane: ControlPlane) -> Printer:
    made = await printer(plane, Kind.JOB, "sums")
    await plane.serve(Kind.JOB, "sums")
    return made


async def test_the_answer_has_the_clis_shape_newest_line_first(agent: Printer) -> None:
    unit = await agent.unit()
    agent.prints(unit, "first", "ERROR: second")
    agent.plane.clock.move(2)
    agent.prints(unit, "third")
    answer = await agent.ask()
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "echo": {
            "logs": [
                {"timestamp": "2026-01-02T12:00:02.123456Z", "message": "third", "severity": 9, "trace_id": ""},
                {
                    "timestamp": "2026-01-02T12:00:00.123458Z",
                    "message": "ERROR: second",
                    "severity": 17,
                    "trace_id": "",
                },
                {"timestamp": "2026-01-02T12:00:00.123457Z", "message": "first", "severity": 9, "trace_id": ""},
            ],
            "totalCount": 3,
        }
    }


async def test_a_workload_that_printed_nothing_is_in_the_answer(agent: Printer) -> None:
    assert (await agent.ask()).json() == {"echo": {"logs": [], "totalCount": 0}}


async def test_like_lines_have_unlike_times(agent: Printer) -> None:
    unit = await agent.unit()
    agent.prints(unit, *["tick"] * 20)
    assert len({line["timestamp"] for line in (await agent.ask()).json()["echo"]["logs"]}) == 20


async def test_lines_of_builds_and_of_several_programs_come_in_one_order(agent: Printer) -> None:
    build, one, two = await agent.unit(UnitKind.BUILD), await agent.unit(), await agent.unit()
    for number, unit in enumerate([build, one, two, one, two, two]):
        agent.plane.clock.move(1)
        agent.prints(unit, f"line {number}")
    assert await agent.texts() == [f"line {number}" for number in (5, 4, 3, 2, 1, 0)]
    assert await agent.texts(type="build") == ["line 0"]
    assert await agent.texts(type="runtime") == [f"line {number}" for number in (5, 4, 3, 2, 1)]


async def test_start_and_end_bound_the_lines(agent: Printer) -> None:
    unit = await agent.unit()
    for number in range(10):
        agent.prints(unit, f"line {number}")
        agent.plane.clock.move(10)
    assert await agent.texts(-30, 3600) == ["line 9", "line 8", "line 7"]
    assert await agent.texts(-100, -80) == ["line 1", "line 0"]
    assert await agent.texts(0, 3600) == []
    zoned = agent.at(-20) + "Z"
    assert await agent.texts(start=zoned, end="") == ["line 9", "line 8"]
    assert await agent.texts(start="", end="") == [f"line {number}" for number in reversed(range(10))]


async def test_a_build_is_shown_from_its_beginning_to_who_looked_in_after_it(agent: Printer) -> None:
    """`bl deploy` asks from the moment at which it noticed the build, with seconds cut off."""
    build = await agent.unit(UnitKind.BUILD)
    agent.prints(build, "resolving")
    agent.plane.clock.move(5)
    agent.prints(build, "done")
    assert await agent.texts(0, 3600) == ["done", "resolving"]
    agent.ends(build)
    agent.plane.clock.move(8)
    assert await agent.texts(0, 3600) == ["done", "resolving"]
    agent.plane.clock.move(BUILD_LINGER_S + 10)
    assert await agent.texts(0, 3600) == []


async def test_an_older_build_is_not_shown_with_the_newest(agent: Printer) -> None:
    for name in ("old", "new"):
        build = await agent.unit(UnitKind.BUILD)
        agent.prints(build, name)
        agent.plane.clock.move(2)
        agent.ends(build)
        agent.plane.clock.move(2)
    assert await agent.texts(0, 3600) == ["new"]


async def test_limit_and_offset_page_through_the_matches(agent: Printer) -> None:
    unit = await agent.unit()
    agent.prints(unit, *[f"line {number}" for number in range(1500)])
    answer = (await agent.ask(limit="3", offset="2")).json()["echo"]
    assert [line["message"] for line in answer["logs"]] == ["line 1497", "line 1496", "line 1495"]
    assert answer["totalCount"] == 1500
    assert len(await agent.texts(limit="5000")) == 1000


async def test_a_search_looks_at_a_bounded_number_of_lines(agent: Printer) -> None:
    unit = await agent.unit()
    agent.prints(unit, "needle", *["hay"] * LINES_EXAMINED)
    assert await agent.texts(search="needle") == []
    assert (await agent.ask(limit="1")).json()["echo"]["totalCount"] == LINES_EXAMINED


async def test_severity_and_text_narrow_the_lines(agent: Printer) -> None:
    unit = await agent.unit()
    agent.prints(unit, "INFO: up", "WARNING: slow", "no level")
    agent.prints(unit, "Traceback (most recent call last):", stream="stderr")
    assert await agent.texts(severity="WARNING,FATAL") == ["WARNING: slow"]
    assert await agent.texts(severity="error") == ["Traceback (most recent call last):"]
    assert len(await agent.texts(severity="all,UNKNOWN,TRACE")) == 4
    assert len(await agent.texts(severity="")) == 4
    assert await agent.texts(search="slow") == ["WARNING: slow"]
    assert await agent.texts(traceId="4bf92f3577b34da6a3ce929d0e0e4736") == []


async def test_an_execution_is_found_by_its_first_eight_characters(job: Printer) -> None:
    for execution in ("exec-aaaa-1", "exec-bbbb-1", "exec-aaaa-2"):
        body = {"tasks": [{}, {}], "executionId": execution}
        assert (await job.plane.api.post("/v0/jobs/sums/executions", json=body)).status_code == 200
        job.plane.clock.move(1)
        for task in ("0", "1"):
            unit = await job.unit(UnitKind.TASK, execution=execution, task=task)
            job.prints(unit, f"{execution} {task}")
            job.ends(unit)
    assert await job.texts(executionId="exec-bbb") == ["exec-bbbb-1 1", "exec-bbbb-1 0"]
    assert await job.texts(executionId="exec-bbbb-1", taskId="task-1") == ["exec-bbbb-1 1"]
    assert await job.texts(executionId="exec-bbb", taskId="0") == ["exec-bbbb-1 0"]
    assert await job.texts(executionId="exec-aaa") == ["exec-aaaa-2 1", "exec-aaaa-2 0"], "the newest of the alike"
    assert await job.texts(executionId="exec-aaaa-1") == ["exec-aaaa-1 1", "exec-aaaa-1 0"]
    assert await job.texts(executionId="exec-ccc") == []
    assert await job.texts(executionId="exec_bbb") == [], "_ is no wildcard"
    assert len(await job.texts()) == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resourceType", "agent"),
        ("resourceType", ""),
        ("workloadIds", " , "),
        ("workloadIds", ",".join(f"w{number}" for number in range(11))),
        ("start", "yesterday"),
        ("start", "2026-13-01T00:00:00"),
        ("start", "0001-01-01T00:00:00"),
        ("start", "2030-01-01T00:00:00"),
        ("end", "9999-12-31T23:59:59-12:00"),
        ("type", "access"),
        ("limit", "0"),
        ("limit", "many"),
        ("offset", "-1"),
        ("offset", "20001"),
        ("severity", "INFO,LOUD"),
        ("search", "x" * 201),
        ("executionId", "exec-aa"),
        ("executionId", "exec-aaaaa%"),
        ("taskId", "first"),
        ("taskId", "9" * 30),
    ],
)
async def test_a_bad_parameter_is_named(job: Printer, field: str, value: str) -> None:
    answer = await job.ask(**{field: value})
    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid"), answer.text
    assert field in answer.json()["message"]


async def test_executions_and_tasks_go_with_jobs_only(agent: Printer) -> None:
    for field, value in (("executionId", "exec-aaaa"), ("taskId", "0")):
        assert (await agent.ask(**{field: value})).status_code == 400


async def test_type_and_names_must_be_given(plane: ControlPlane) -> None:
    answer = await plane.api.get(ADDRESS)
    assert answer.status_code == 400
    assert "resourceType" in answer.json()["message"] and "workloadIds" in answer.json()["message"]


async def test_several_workloads_answer_side_by_side_and_an_unknown_one_is_404(agent: Printer) -> None:
    other = await printer(agent.plane, Kind.AGENT, "other")
    agent.prints(await agent.unit(), "mine")
    other.prints(await other.unit(), "its")
    answer = (await agent.ask(workloadIds="echo,other")).json()
    assert {name: [line["message"] for line in found["logs"]] for name, found in answer.items()} == {
        "echo": ["mine"],
        "other": ["its"],
    }
    unknown = await agent.ask(workloadIds="echo,never-was")
    assert unknown.status_code == 404 and "never-was" in unknown.json()["message"]


async def test_a_kind_that_is_not_served_says_so(plane: ControlPlane) -> None:
    answer = await plane.api.get(ADDRESS, params={"resourceType": "sandboxes", "workloadIds": "s"})
    assert answer.status_code == 404 and "not served by this version" in answer.json()["message"]


async def test_programs_and_other_workspaces_read_nothing(agent: Printer) -> None:
    asked = {"resourceType": "agents", "workloadIds": "echo"}
    program = await agent.plane.key(Role.WORKLOAD)
    assert (await agent.plane.send(program, "GET", ADDRESS, params=asked)).status_code == 403
    stranger = await agent.plane.key(Role.ADMIN, workspace=AWAY)
    assert (await agent.plane.send(stranger, "GET", ADDRESS, params=asked)).status_code == 404
