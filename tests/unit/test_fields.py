"""The rows of fields: what has no effect is found in a specification, and nothing else is."""

from typing import Any

import pytest

from homeport.app.fields import FIELDS, ignored_fields
from homeport.core.fields import IGNORED_MOST, Fate
from homeport.core.ids import WRITTEN, Kind


def ignored(kind: Kind, spec: dict[str, Any]) -> list[str]:
    return [one.field for one in ignored_fields(kind, spec)]


def test_a_field_without_effect_is_named_once_and_its_parts_are_not() -> None:
    trigger = {"id": "a", "type": "cron", "configuration": {"schedule": "0 * * * *"}}
    found = ignored_fields(Kind.JOB, {"triggers": [trigger, trigger], "runtime": {"memory": 64}})
    assert [one.field for one in found] == ["spec.triggers"]
    assert "nothing starts by itself" in str(found[0])


@pytest.mark.parametrize("nothing", [None, "", [], {}, False, 0])
def test_a_value_that_asks_for_nothing_is_not_named(nothing: Any) -> None:
    runtime = {"minScale": nothing, "type": nothing, "newer": nothing}
    assert ignored(Kind.JOB, {"triggers": nothing, "sandbox": nothing, "runtime": runtime, "newer": nothing}) == []


def test_fields_that_nobody_knows_are_named_cut_and_bounded() -> None:
    spec = {"newer": 1, "revision": {"newer": 1}, "runtime": {"envs": [{"name": "A", "newer": 1}, {"newer": 2}]}}
    assert ignored(Kind.AGENT, spec) == ["spec.newer", "spec.revision.newer", "spec.runtime.envs[].newer"]
    assert ignored(Kind.AGENT, {"a\n\x1b" + "b" * 500: 1}) == ["spec.a??" + "b" * 92]
    many = ignored(Kind.AGENT, {f"newer-{n}": 1 for n in range(1000)})
    assert len(many) == IGNORED_MOST and many[-1] == "spec (981 more fields)"


def test_members_that_a_caller_names_are_no_fields() -> None:
    spec = {"configurations": {"triggers": {"value": "x", "secret": True}, "B": {"newer": 1}}}
    assert ignored(Kind.JOB, spec) == ["spec.configurations.*.newer"]


def test_a_part_that_a_policys_type_does_not_name_has_no_effect() -> None:
    spec = {"locations": [{"name": "EU", "type": "continent"}], "flavors": [{"name": "t4", "type": "gpu"}]}
    assert ignored(Kind.POLICY, {"type": "location", **spec}) == ["spec.flavors"]
    assert ignored(Kind.POLICY, {"type": "flavor", **spec}) == ["spec.locations"]
    assert ignored(Kind.POLICY, {"type": "maxToken", "maxTokens": {"total": 1}}) == ["spec.maxTokens"]


def test_a_maximum_above_what_runs_has_no_effect_and_one_that_binds_has() -> None:
    assert ignored(Kind.AGENT, {"runtime": {"maxScale": 10}}) == ["spec.runtime.maxScale"]
    assert ignored(Kind.AGENT, {"runtime": {"minScale": 3, "maxScale": 3}}) == []
    assert ignored(Kind.AGENT, {"runtime": {"minScale": 0, "maxScale": 1}}) == []


def test_a_generation_that_is_not_run_is_named() -> None:
    assert ignored(Kind.AGENT, {"runtime": {"generation": "mk3"}}) == []
    assert ignored(Kind.JOB, {"runtime": {"generation": "mk2"}}) == ["spec.runtime.generation"]


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_row_has_a_path_and_says_something(kind: Kind) -> None:
    for path, field in FIELDS[kind].items():
        assert path == field.path and field.effect and "|" not in field.effect
        assert field.fate is Fate.ACTS or field.idle is None
