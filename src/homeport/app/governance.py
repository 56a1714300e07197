"""The policy decision and the placement of one workload, from what the store holds. Every way to start something
(deployment, update, execution) and `explain` come through here, so that nothing goes around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from homeport.app.context import Context
from homeport.core.clock import timestamp
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.images import FIELD, read_image
from homeport.placement.plan import Plan, Refusal, place, refused_request
from homeport.policy.decision import Decision, decide
from homeport.policy.inventory import Region, read_flavors
from homeport.policy.rules import MissingPolicy, PolicyRule
from homeport.store.contract import Transaction

OTHER_SOURCES = (
    "Without one, upload a folder (`homeport deploy -d FOLDER`) or name a git repository in spec.repository.url."
)

RuleOf = Callable[[str], PolicyRule | MissingPolicy]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision and what placement made of it."""

    decision: Decision
    placed: Plan | Refusal

    @property
    def refusal(self) -> Refusal | None:
        return self.placed if isinstance(self.placed, Refusal) else None

    def plan(self) -> Plan:
        """The plan. Raises `Denied` with policy, rule, what exists and what to change if there is none."""
        if isinstance(self.placed, Refusal):
            raise self.placed.as_error()
        return self.placed


def judge(context: Context, tx: Transaction, workspace: str, kind: Kind, spec: dict[str, Any]) -> Verdict:
    """Decide where this specification may run now, and where it would. Raises `Invalid` for an unknown region."""
    regions = _able(context, spec)
    decision = decide(kind, [stored_rule(tx, workspace, name) for name in attached(spec)], regions)
    return Verdict(decision=decision, placed=_placed(regions, decision, spec))


def assess(context: Context, kind: Kind, spec: dict[str, Any], rule_of: RuleOf) -> Verdict:
    """The same for people who ask why, with the rules of `rule_of`, which may be other than those that hold. What is
    wrong with the request is a refusal, too."""
    try:
        regions, wrong = _able(context, spec), None
    except Invalid as error:
        regions, wrong = context.regions, error
    decision = decide(kind, [rule_of(name) for name in attached(spec)], regions)
    try:
        if wrong is not None:
            raise wrong
        return Verdict(decision=decision, placed=_placed(regions, decision, spec))
    except Invalid as error:
        return Verdict(decision=decision, placed=refused_request(decision, error))


def attached(spec: dict[str, Any]) -> list[str]:
    """The policies that a specification names, each once, in that order."""
    return [*dict.fromkeys(spec.get("policies") or [])]


def _able(context: Context, spec: dict[str, Any]) -> Sequence[Region]:
    """The regions that run what this is: images, or programs. Raises `Invalid` where none does."""
    image = read_image(spec)
    found = [region for region in context.regions if region.runs_images == (image is not None)]
    if image is not None and not found:
        rule = "needs a region with a container engine (Docker, Podman), and this installation has none"
        hint = f'Add one to {context.data.config}: [regions.NAME] with driver = "docker" and engine. {OTHER_SOURCES}'
        raise Invalid(FIELD, rule, value=image.text, hint=hint)
    return found


def _placed(regions: Sequence[Region], decision: Decision, spec: dict[str, Any]) -> Plan | Refusal:
    return place(decision, regions, pin=spec.get("region"), flavors_asked=read_flavors(spec))


def stored_rule(tx: Transaction, workspace: str, name: str) -> PolicyRule | MissingPolicy:
    """The policy of this name as it holds now."""
    stored = tx.resources.get(workspace, Kind.POLICY, name)
    if stored is None:
        gone = tx.tombstones.get(workspace, name)
        return MissingPolicy(name, f"{gone.deleted_by} on {timestamp(gone.deleted_at)}" if gone else "")
    try:
        return PolicyRule.from_spec(name, stored.spec)
    except Invalid as exc:
        return MissingPolicy(name, unusable=exc.message.rstrip("."))
