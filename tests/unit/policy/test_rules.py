"""A policy's spec is parsed, or refused with the path of what is wrong."""

from typing import Any

import pytest

from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.policy.rules import Granularity, PolicyRule, PolicyType

EVERY_PART: dict[str, Any] = {
    "type": "location",
    "locations": [{"name": "EU", "type": "continent"}],
    "flavors": [{"name": "t4", "type": "cpu"}],
    "maxTokens": {"granularity": "minute", "step": 1, "input": 10, "output": 5, "total": 15},
    "resourceTypes": ["model"],
    "sandbox": False,
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": None}, "spec.type"),
        ({"type": "weather"}, "spec.type"),
        ({"locations": []}, "spec.locations"),
        ({"locations": None}, "spec.locations"),
        ({"locations": "EU"}, "spec.locations"),
        ({"locations": ["EU"]}, "spec.locations[0]"),
        ({"locations": [{"name": "EU"}]}, "spec.locations[0].type"),
        ({"locations": [{"name": "EU", "type": "planet"}]}, "spec.locations[0].type"),
        ({"locations": [{"name": "EU", "type": "continent"}, {"type": "country"}]}, "spec.locations[1].name"),
        ({"locations": [{"name": "US", "type": "continent"}]}, "spec.locations[0].name"),
        ({"locations": [{"name": "USA", "type": "country"}]}, "spec.locations[0].name"),
        (
            {"locations": [{"name": "EU", "type": "continent"}, {"name": "eu", "type": "continent"}]},
            "spec.locations[1]",
        ),
        ({"locations": [{"name": "EU", "type": "continent"}] * 101}, "spec.locations"),
        ({"locations": [{"name": "a\nb", "type": "location"}]}, "spec.locations[0].name"),
        ({"locations": [{"name": "x" * 65, "type": "location"}]}, "spec.locations[0].name"),
        ({"locations": [{"name": 5, "type": "location"}]}, "spec.locations[0].name"),
        ({"resourceTypes": ["job"]}, "spec.resourceTypes[0]"),
        ({"resourceTypes": ["agent", "agent"]}, "spec.resourceTypes[1]"),
        ({"resourceTypes": [["agent"]]}, "spec.resourceTypes[0]"),
        ({"type": "flavor", "flavors": [{"name": "t4"}, {"name": "T4"}]}, "spec.flavors[1]"),
        ({"type": "flavor", "flavors": [{"name": "t4 "}, {"name": "a b"}]}, "spec.flavors[1].name"),
        ({"type": "flavor", "flavors": [{"name": "t4"}] * 101}, "spec.flavors"),
        ({"type": "flavor", "flavors": []}, "spec.flavors"),
        ({"type": "flavor", "flavors": [{}]}, "spec.flavors[0]"),
        ({"type": "flavor", "flavors": [{"name": "t4", "type": "tpu"}]}, "spec.flavors[0].type"),
        ({"type": "maxToken", "maxTokens": None}, "spec.maxTokens"),
        ({"type": "maxToken", "maxTokens": {"granularity": "year", "total": 1}}, "spec.maxTokens.granularity"),
        ({"type": "maxToken", "maxTokens": {"granularity": "day", "total": -1}}, "spec.maxTokens.total"),
        ({"type": "maxToken", "maxTokens": {"granularity": "day", "total": True}}, "spec.maxTokens.total"),
        ({"type": "maxToken", "maxTokens": {"granularity": "day", "input": 10**16}}, "spec.maxTokens.input"),
        ({"type": "maxToken", "maxTokens": {"granularity": "day", "output": 1.5}}, "spec.maxTokens.output"),
        ({"type": "maxToken", "maxTokens": {"granularity": "DAY", "total": 1}}, "spec.maxTokens.granularity"),
        ({"type": "maxToken", "maxTokens": {"total": 1}}, "spec.maxTokens.granularity"),
        ({"type": "maxToken", "maxTokens": {"granularity": "day", "step": -1, "total": 1}}, "spec.maxTokens.step"),
        (
            {"type": "maxToken", "maxTokens": {"granularity": "day", "total": 1, "ratioInputOverOutput": -1}},
            "spec.maxTokens.ratioInputOverOutput",
        ),
        ({"type": "maxToken", "maxTokens": {"granularity": "day", "step": 0, "total": 1}}, "spec.maxTokens.step"),
        ({"type": "maxToken", "maxTokens": {"granularity": "day", "total": 0}}, "spec.maxTokens"),
        (
            {"type": "maxToken", "maxTokens": {"granularity": "day", "total": 1, "ratioInputOverOutput": "2"}},
            "spec.maxTokens.ratioInputOverOutput",
        ),
    ],
)
def test_a_wrong_part_is_named_by_its_path(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        PolicyRule.from_spec("p", {**EVERY_PART, **change})
    assert caught.value.field == field


def test_parts_that_the_type_does_not_name_do_nothing() -> None:
    rule = PolicyRule.from_spec("p", EVERY_PART)
    assert (rule.type, len(rule.places), rule.flavors, rule.tokens) == (PolicyType.LOCATION, 1, (), None)
    broken_elsewhere = {**EVERY_PART, "flavors": [{"type": "abacus"}], "maxTokens": {"step": -3}}
    assert PolicyRule.from_spec("p", broken_elsewhere) == rule


def test_token_limits_are_carried_whole() -> None:
    budget = {"granularity": "hour", "step": 2, "input": 10, "output": 0, "total": 15, "ratioInputOverOutput": 2}
    limit = PolicyRule.from_spec("p", {"type": "maxToken", "maxTokens": budget}).tokens
    assert limit is not None
    assert (limit.granularity, limit.step, limit.input, limit.output, limit.total) == (Granularity.HOUR, 2, 10, 0, 15)
    assert limit.ratio == 2.0
    assert str(limit) == "10 input, 15 total tokens every 2 hours"


def test_resource_types_bind_the_kinds_that_they_name_and_every_job() -> None:
    rule = PolicyRule.from_spec("p", EVERY_PART)
    assert not rule.binds(Kind.AGENT)
    assert rule.binds(Kind.JOB)
    assert PolicyRule.from_spec("p", {**EVERY_PART, "resourceTypes": []}).binds(Kind.AGENT)
    assert PolicyRule.from_spec("p", {**EVERY_PART, "resourceTypes": ["agent"]}).binds(Kind.AGENT)


def test_a_rule_describes_itself() -> None:
    places = [
        {"name": "eu", "type": "continent"},
        {"name": "us", "type": "country"},
        {"name": "dc", "type": "location"},
    ]
    rule = PolicyRule.from_spec("p", {"type": "location", "locations": places})
    assert rule.describe() == 'policy "p" allows only continent EU, country US or location dc'
    flavors = [{"name": "t4", "type": "gpu"}, {"name": "x86"}, {"type": "gpu"}]
    rule = PolicyRule.from_spec("q", {"type": "flavor", "flavors": flavors})
    assert rule.describe() == 'policy "q" allows only flavor t4/gpu, x86 or any/gpu'
