"""Envoy's start and the answers that it gives itself, without Envoy."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeport.dataplane import answers, headers
from homeport.dataplane.bootstrap import EnvoySockets, bootstrap, envoy_command
from homeport.dataplane.headers import WORKLOAD_FORM

SOCKETS = EnvoySockets(xds=Path("/r/x"), server=Path("/r/s"), edge=Path("/r/e"), admin=Path("/r/a"))
CONFIG = bootstrap(sockets=SOCKETS, host="127.0.0.1", port=8080)
LISTENER = CONFIG["static_resources"]["listeners"][0]
MANAGER = LISTENER["filter_chains"][0]["filters"][0]["typed_config"]


def test_the_bootstrap_is_plain_json() -> None:
    assert json.loads(json.dumps(CONFIG)) == CONFIG


def test_it_is_made_without_envoys_messages_which_take_long_to_load() -> None:
    program = (
        "import sys\nimport homeport.dataplane.bootstrap\nassert not {'google.protobuf', 'envoy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_no_client_header_of_ours_survives_the_listener() -> None:
    mutations = MANAGER["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    removed = [mutation["remove"] for mutation in mutations if "remove" in mutation]
    assert set(removed) == {*headers.OWN, *headers.OF_CALLS}
    assert "append" in mutations[-1]  # after the removals


def test_paths_cannot_walk() -> None:
    assert MANAGER["normalize_path"] is MANAGER["merge_slashes"] is True
    assert MANAGER["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert LISTENER["enable_reuse_port"] is False


def test_envoy_is_called_by_its_path_in_the_wheel() -> None:
    command = envoy_command(Path("/r/envoy.json"), concurrency=2)
    assert command[0].endswith("envoy/_bin/envoy") and Path(command[0]).is_file()
    assert command[command.index("--concurrency") + 1] == "2"


def mapped(code: str) -> list[dict[str, object]]:
    mappers = MANAGER["local_reply_config"]["mappers"]
    bodies = [mapper["body_format_override"]["json_format"] for mapper in mappers]
    return [body["error"] for body in bodies if isinstance(body["error"], dict) and body["error"]["code"] == code]


@pytest.mark.parametrize(
    "code",
    [
        *("AUTHENTICATION_REQUIRED", "AUTHENTICATION_FAILED", "FORBIDDEN", "WORKLOAD_NOT_FOUND", "ROUTE_NOT_FOUND"),
        *("REQUEST_ENTITY_TOO_LARGE", "BAD_REQUEST", "WORKLOAD_UNAVAILABLE"),
    ],
)
def test_every_code_of_the_contract_has_an_answer(code: str) -> None:
    found = mapped(code)
    assert found
    assert all(error["retryable"] is (code == "WORKLOAD_UNAVAILABLE") for error in found)


def test_the_envelope_of_the_edge_is_that_of_envoy() -> None:
    body = answers.UNAVAILABLE.body(datetime(2026, 1, 2, tzinfo=UTC))["error"]
    assert set(body) == set(mapped("WORKLOAD_UNAVAILABLE")[0])
    assert (body["status"], body["timestamp"]) == (503, "2026-01-02T00:00:00.000000Z")
    assert answers.UNAVAILABLE.headers()["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        *(("/acme/agents/a", True), ("/acme/agents/a?q=1", True), ("/acme/jobs/j/executions", True)),
        *(("/acme/agents", False), ("/acme/agents/", False), ("/acme/other/a", False), ("/", False)),
    ],
)
def test_the_form_of_a_workloads_path(path: str, fits: bool) -> None:
    assert bool(re.fullmatch(WORKLOAD_FORM, path)) is fits
