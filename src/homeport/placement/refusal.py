"""The words of a refusal: which policies stand in the way, what they allow, what exists, and what to change.

Called by `place` once nothing fits. One case a function, the narrowest cause first; it decides nothing.
"""

from collections.abc import Sequence

from homeport.policy.decision import Decision, RegionVerdict
from homeport.policy.inventory import Flavor, Region
from homeport.policy.rules import MissingPolicy, PolicyRule, alternatives
from homeport.policy.steps import configuration_lines, missing_sentence

Words = tuple[tuple[str, ...], str, str]  # names of policies, message, hint


def refusal_of(
    decision: Decision,
    inventory: Sequence[Region],
    pinned: Region | None,
    flavors_asked: Sequence[Flavor],
) -> Words:
    """The cause of a refusal in words. Only for a decision that leaves nothing for this pin and these flavors."""
    if decision.missing:
        return _missing(decision.missing)
    if not inventory:
        return (), "This installation has no region to run anything in.", "Name one in DATA/config.toml."
    candidates = [one for one in decision.regions if pinned is None or one.region.name == pinned.name]
    in_place = [one for one in candidates if one.in_place]
    if not in_place:
        return _out_of_place(decision, candidates, pinned)
    if all(not one.flavors for one in in_place):
        return _no_flavor(decision, candidates, pinned)
    return _asked_in_vain(decision, in_place, flavors_asked)


def _missing(missing: Sequence[MissingPolicy]) -> Words:
    them = "it" if len(missing) == 1 else "them"
    names = tuple(one.name for one in missing)
    return names, f"{missing_sentence(missing)}.", f"Create {them} or take {them} out of spec.policies."


def _out_of_place(decision: Decision, candidates: Sequence[RegionVerdict], pinned: Region | None) -> Words:
    rules = decision.location_rules
    message = f"{_together(rules)}; {_what_exists(candidates, pinned)}."
    wanted = [place for rule in rules for place in rule.places]
    unknown = next((one for one in candidates if one.unknown), None)
    if unknown is not None:
        lines = configuration_lines(unknown.region.name, wanted, unknown.unknown)
        there = f"If this is where {unknown.region.name} stands, add to DATA/config.toml and start Homeport again:"
        hint = f"{there}\n{lines}\n{_otherwise(rules)}"
        return _names(rules), message, hint
    elsewhere = [one.region.name for one in decision.regions if one.allowed]
    if pinned is not None and elsewhere:
        hint = f"Set spec.region to {alternatives(tuple(elsewhere))}, or leave it out."
        return _names(rules), message, hint
    return _names(rules), message, _change(rules)


def _no_flavor(decision: Decision, candidates: Sequence[RegionVerdict], pinned: Region | None) -> Words:
    hardware = decision.flavor_rules
    if not hardware:
        message = f"No flavor can be offered; {_what_exists(candidates, pinned)}."
        return (), message, "Name the region's flavors in DATA/config.toml."
    rules = hardware
    message = f"{_together(hardware)}; {_what_exists(candidates, pinned)}."
    if any(one.flavors for one in candidates):
        # Somewhere that hardware exists, but not where the location policies allow: both are in the way.
        rules = (*decision.location_rules, *hardware)
        both = f"{_together(decision.location_rules)}, and {_lower(_together(hardware))}"
        message = f"{both}; no region is both: {_what_exists(candidates, pinned)}."
    elsewhere = [one.region.name for one in decision.regions if one.allowed]
    if pinned is not None and elsewhere:
        return _names(rules), message, f"Set spec.region to {alternatives(tuple(elsewhere))}, or leave it out."
    return _names(rules), message, _change(rules)


def _asked_in_vain(decision: Decision, in_place: Sequence[RegionVerdict], flavors_asked: Sequence[Flavor]) -> Words:
    asked = alternatives(tuple(flavors_asked))
    allowed = alternatives(tuple(flavor for one in in_place for flavor in one.flavors))
    rules = (*decision.location_rules, *decision.flavor_rules)
    because = f" {_together(rules)}." if rules else ""
    message = f"Flavor {asked} was asked for, and only {allowed} is available here.{because}"
    return _names(rules), message, f"Ask for {allowed}, or for no flavor."


def _together(rules: Sequence[PolicyRule]) -> str:
    """`Policy "a" allows only continent EU`, or `Policies "a" and "b" together allow only …`."""
    if len(rules) == 1:
        return f"Policy{rules[0].describe().removeprefix('policy')}"
    names = " and ".join(f'"{rule.name}"' for rule in rules)
    if len({rule.type for rule in rules}) > 1:
        return f"Policies {names} allow only {', and only '.join(rule.describe_options() for rule in rules)}"
    options = alternatives(tuple(one for rule in rules for one in (*rule.places, *rule.flavors)))
    return f"Policies {names} together allow only {'flavor ' if rules[0].flavors else ''}{options}"


def _what_exists(candidates: Sequence[RegionVerdict], pinned: Region | None) -> str:
    if pinned is not None:
        return f"spec.region asks for {pinned.describe()}"
    return f"this installation has: {'; '.join(one.region.describe() for one in candidates)}"


def _otherwise(rules: Sequence[PolicyRule]) -> str:
    return (
        "Otherwise change the policy or detach it." if len(rules) == 1 else "Otherwise change or detach the policies."
    )


def _change(rules: Sequence[PolicyRule]) -> str:
    if len(rules) == 1:
        return f'Change policy "{rules[0].name}" or detach it: there is no other region.'
    return "Change one of the policies or detach it: there is no other region."


def _names(rules: Sequence[PolicyRule]) -> tuple[str, ...]:
    return tuple(rule.name for rule in rules)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
