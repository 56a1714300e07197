"""Functions on the command line, against the real API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.core.ids import Kind
from homeport.testing.served import Served

Cli = Callable[..., Any]
EXAMPLE = Path(__file__).parents[3] / "examples/text-tools"


@pytest.fixture
def tools(served: Served) -> str:
    body = {"metadata": {"name": "tools"}, "spec": {}}
    made = served.run(served.plane.api.post("/v0/functions", params={"upload": "true"}, json=body))
    assert made.status_code == 200, made.text
    return "tools"


def test_the_folder_says_that_it_is_one(cli: Cli) -> None:
    shown = json.loads(cli("deploy", "-d", str(EXAMPLE), "--dry-run", "-o", "json").out)
    assert (shown["kind"], shown["resource"]["metadata"]["name"]) == ("function", "text-tools")
    assert shown["resource"]["spec"]["runtime"]["transport"] == "http-stream"
    as_agent = json.loads(cli("deploy", "-d", str(EXAMPLE), "-t", "agent", "--dry-run", "-o", "json").out)
    assert as_agent["kind"] == "agent"


def test_it_is_applied_listed_and_deleted(cli: Cli, served: Served, tools: str) -> None:
    served.run(served.plane.serve(Kind.FUNCTION, tools))
    manifest = {"kind": "Function", "metadata": {"name": tools}, "spec": {"runtime": {"memory": 512}}}
    done = cli("apply", "-f", "-", input=json.dumps(manifest))
    assert done.code == 0 and tools in done.out
    listed = json.loads(cli("get", "functions", "-o", "json").out)
    assert [(one["metadata"]["name"], one["spec"]["runtime"]["memory"]) for one in listed] == [(tools, 512)]
    assert cli("delete", "function", tools, "--yes", "--no-wait").code == 0


def test_it_has_no_executions(cli: Cli, tools: str) -> None:
    refused = cli("logs", "function", tools, "exec-one")
    assert refused.code == 2 and "is a job's" in refused.err


def test_names_and_what_is_below_them_are_completed(cli: Cli, tools: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def complete(line: str) -> list[str]:
        monkeypatch.setenv("_HOMEPORT_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"homeport {line}")
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" "))))
        return [str(word) for word in cli().out.split()]

    assert complete("run function t") == complete("get functions ") == complete("logs function ") == [tools]
    assert complete("get function tools ") == ["revisions"]
    assert complete("explain f") == ["function"]
    assert complete("get revisions ") == [f"function/{tools}"]
