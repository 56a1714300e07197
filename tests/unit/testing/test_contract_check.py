"""The comparison of OpenAPI documents: what counts as a difference, and what explains one."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from homeport.api.app import routed_app
from homeport.testing import contract_check
from homeport.testing.contract_check import Reason, compare, main, read_reasons, report

THING = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "size": {"type": "integer", "default": 3},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "made": {"type": "string", "readOnly": True},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
    },
}
DOCUMENT = {
    "openapi": "3.0.3",
    "components": {
        "schemas": {"Thing": THING, "Error": {"type": "object", "properties": {"error": {"type": "string"}}}},
        "parameters": {"Limit": {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 200}}},
    },
    "paths": {
        "/agents": {
            "get": {
                "operationId": "List",
                "security": [{"OAuth2": ["agents:list"]}, {"ApiKeyAuth": []}],
                "parameters": [{"$ref": "#/components/parameters/Limit"}],
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {
                                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}
                            }
                        }
                    }
                },
            },
            "post": {
                "operationId": "Create",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                },
                "responses": {
                    "200": {"description": "made"},
                    "400": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}},
                },
            },
        },
        "/drives": {"get": {"operationId": "ListDrives", "responses": {"200": {"description": ""}}}},
    },
}


def lines(ours: Any, theirs: Any = DOCUMENT) -> list[str]:
    return [str(difference) for difference in compare(ours, theirs).differences]


def changed(*path: Any, to: Any) -> Any:
    document = deepcopy(DOCUMENT)
    at: Any = document
    for part in path[:-1]:
        at = at[part]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return document


def test_a_document_does_not_differ_from_itself() -> None:
    found = compare(DOCUMENT, DOCUMENT)
    assert (found.differences, found.compared, dict(found.unserved), found.added) == ([], 2, {"drives": 1}, [])


LIST, CREATE = ("paths", "/agents", "get"), ("paths", "/agents", "post")
FIELD = ("components", "schemas", "Thing", "properties")


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (changed(*LIST, to=None), ["GET /agents · operation · absent · present"]),
        (changed(*LIST, "operationId", to="Other"), ["GET /agents · operationId · Other · List"]),
        (changed(*LIST, "parameters", to=[]), ["GET /agents · query limit · absent · integer"]),
        (
            changed("components", "parameters", "Limit", "schema", "maximum", to=100),
            ["GET /agents · query limit maximum · 100 · 200"],
        ),
        (
            changed("components", "parameters", "Limit", "in", to="header"),
            ["GET /agents · header limit · integer · absent", "GET /agents · query limit · absent · integer"],
        ),
        (
            changed(*FIELD, "size", to=None),
            [
                "GET /agents · 200[].size · absent · integer",
                "POST /agents · request.size · absent · integer",
            ],
        ),
        (
            changed(*FIELD, "size", "default", to=4),
            ["GET /agents · 200[].size default · 4 · 3", "POST /agents · request.size default · 4 · 3"],
        ),
        (
            changed(*FIELD, "kind", "enum", to=["a", "b", "c"]),
            ["GET /agents · 200[].kind enum · a, b, c · a, b", "POST /agents · request.kind enum · a, b, c · a, b"],
        ),
        (changed(*FIELD, "made", "readOnly", to=False), ["POST /agents · request.made read-only · absent · yes"]),
        (
            changed("components", "schemas", "Thing", "required", to=[]),
            ["GET /agents · 200[].name required · no · yes", "POST /agents · request.name required · no · yes"],
        ),
        (changed(*CREATE, "responses", "400", to=None), ["POST /agents · 400 · absent · object"]),
        (changed(*CREATE, "responses", "409", to={"description": ""}), ["POST /agents · 409 · no body · absent"]),
        (changed(*CREATE, "requestBody", "required", to=False), ["POST /agents · request required · no · yes"]),
        (
            changed(*LIST, "security", to=[{"OAuth2": ["admin"]}]),
            ["GET /agents · security · admin · agents:list"],
        ),
    ],
)
def test_each_difference_is_named_once(ours: Any, expected: list[str]) -> None:
    assert lines(ours) == expected


def test_the_same_shape_cut_otherwise_is_the_same() -> None:
    ours = deepcopy(DOCUMENT)
    named = {key: value for key, value in THING["properties"].items() if key != "size"}  # type: ignore[attr-defined]
    ours["components"]["schemas"]["Thing"] = {  # type: ignore[index]
        "title": "Another name",
        "allOf": [{"$ref": "#/components/schemas/Sized"}, {"type": "object", "properties": named}],
        "required": ["name"],
    }
    ours["components"]["schemas"]["Sized"] = {
        "type": "object",
        "properties": {"size": {"type": "integer", "default": 3}},
    }  # type: ignore[index]
    assert lines(ours) == []


def test_null_in_either_form_is_a_difference_of_its_own() -> None:
    for schema in ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string", "nullable": True}):
        found = lines(changed(*FIELD, "name", to=schema))
        assert found == [
            "GET /agents · 200[].name null · yes · absent",
            "POST /agents · request.name null · yes · absent",
        ]


def test_alternatives_are_named() -> None:
    found = lines(changed(*FIELD, "size", to={"anyOf": [{"type": "string"}, {"type": "integer"}], "default": 3}))
    assert found[0] == "GET /agents · 200[].size · integer or string · integer"


def test_what_only_we_have_is_counted_and_no_difference() -> None:
    ours = changed("paths", "/homeport/status", to={"get": {"responses": {"200": {"description": ""}}}})
    assert compare(ours, DOCUMENT).added == ["GET /homeport/status"]


def test_a_pattern_explains_what_it_matches_and_nothing_else() -> None:
    found = compare(changed(*FIELD, "size", "default", to=4), DOCUMENT)
    exact = Reason(pattern="GET /agents · 200[].size default · 4 · 3", reason="")
    assert report(found, [exact])[1] is False
    assert report(found, [exact, Reason(pattern="* · request* default · * · *", reason="")])[1] is True
    assert report(found, [Reason(pattern="* · request* · 4 · 3", reason="")])[1] is False
    assert report(found, [Reason(pattern="GET /agents · 200..size default · 4 · 3", reason="")])[1] is False


def test_a_pattern_that_explains_nothing_is_a_failure() -> None:
    printed, explained = report(compare(DOCUMENT, DOCUMENT), [Reason(pattern="* · old · a · b", reason="")])
    assert explained is False and printed[0] == "STALE        * · old · a · b"


def test_reasons_are_read_from_tables_of_patterns_only() -> None:
    text = "| difference | why |\n|---|---|\n| `* · a · b · c` | because |\n| `code` | no pattern |\n"
    assert read_reasons(text) == [Reason(pattern="* · a · b · c", reason="because")]


def test_the_exit_code_says_whether_all_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = routed_app("http://x").openapi()
    spec, reasons = tmp_path / "spec.json", tmp_path / "reasons.md"
    reasons.write_text("")
    spec.write_text(json.dumps(ours))
    assert main([str(spec), "--reasons", str(reasons)]) == 0
    theirs = deepcopy(ours)
    del theirs["paths"]["/agents"]["get"]["responses"]["503"]
    spec = tmp_path / "spec.yml"
    spec.write_text(yaml.safe_dump(theirs))
    assert main([str(spec), "--reasons", str(reasons)]) == 1
    assert "UNEXPLAINED  GET /agents · 503 · object · absent" in capsys.readouterr().out
    reasons.write_text("| `* · 503 · object · absent` | said by us |\n")
    assert main([str(spec), "--reasons", str(reasons)]) == 0
    for wrong in (tmp_path / "missing", reasons):
        assert main([str(wrong), "--reasons", str(reasons)]) == 2


def test_the_documents_reasons_have_the_form_of_patterns() -> None:
    text = (Path(__file__).parents[3] / contract_check.DEFAULT_REASONS).read_text()
    found = read_reasons(text)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(found) == len(rows) > 20
    assert all(len(one.pattern.split(" · ")) == 4 and one.reason for one in found)
