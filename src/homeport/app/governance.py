"""The policy decision and the placement of one workload, from what the store holds. Every way to start something
(deployment, update, execution) and `explain` come through here, so that nothing goes around it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from homeport.app.context import Context
from homeport.app.own_images import named_tag
from homeport.build.dockerfile import NAME as DOCKERFILE
from homeport.configuration import LOCAL
from homeport.core.clock import timestamp
from homeport.core.errors import Invalid
from homeport.core.ids import Kind
from homeport.core.images import FIELD, read_image
from homeport.placement.plan import Plan, Refusal, place, refused_request
from homeport.policy.decision import Decision, decide
from homeport.policy.inventory import Region, read_flavors
from homeport.policy.rules import MissingPolicy, PolicyRule
from homeport.store.contract import Transaction
from homeport.store.records import ImageTag, Resource, Revision

_NEEDS = "needs a region with a container engine (Docker, Podman), and this installation has none"
OTHER_SOURCES = (
    "Without one, upload a folder (`homeport deploy -d FOLDER`) or name a git repository in spec.repository.url."
)
NO_DOCKERFILE = (
    f"Without one, leave the {DOCKERFILE} out, such as by a line in .blaxelignore: a Python or Node.js program needs "
    "neither."
)


class Form(StrEnum):
    """What a workload is run as, which decides what regions can run it. OPEN: as long as its source is not here, and
    may or may not have a Dockerfile."""

    PROGRAM = "program"
    IMAGE = "image"
    OPEN = "open"


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


def form_of(spec: Mapping[str, Any], newest: Revision | None) -> Form:
    """What a workload is run as: what its specification says, else as its `newest` revision was placed."""
    if read_image(spec) is not None or (newest is not None and newest.region != LOCAL):
        return Form.IMAGE
    return Form.PROGRAM


def form_now(context: Context, tx: Transaction, resource: Resource) -> Form:
    """The same of a stored workload. Without engines there is but one answer, and its revisions are not read."""
    engines = any(region.runs_images for region in context.regions)
    return form_of(resource.spec, next(iter(tx.revisions.of(resource.uid)), None) if engines else None)


def judge(context: Context, tx: Transaction, workspace: str, kind: Kind, spec: dict[str, Any], form: Form) -> Verdict:
    """Decide where this specification may run now, and where it would. Raises `Invalid` for an unknown region, for an
    image that is not there, and where no region runs what it is. `form` counts where `spec` names no image."""
    regions = _able(context, spec, named_tag(tx, workspace, kind, spec), form)
    decision = decide(kind, [stored_rule(tx, workspace, name) for name in attached(spec)], regions)
    return Verdict(decision=decision, placed=_placed(regions, decision, spec))


def settle(context: Context, tx: Transaction, revision: Revision, dockerfile: bool) -> Revision:
    """The revision where it can be built and run, now that its source is here, which has a Dockerfile or not. Raises as
    `judge`, and `Denied`."""
    form = Form.IMAGE if dockerfile else Form.PROGRAM
    if form_of(revision.spec, revision) is form:
        return revision
    plan = judge(context, tx, revision.workspace, revision.kind, revision.spec, form).plan()
    return replace(revision, region=plan.region, flavor=str(plan.flavor))


def assess(
    context: Context, kind: Kind, spec: dict[str, Any], rule_of: RuleOf, tag: ImageTag | None, form: Form
) -> Verdict:
    """The same for people who ask why, with the rules of `rule_of`, which may be other than those that hold. What is
    wrong with the request is a refusal, too. `tag`: of the image of the platform's own that `spec` names, if any."""
    try:
        regions, wrong = _able(context, spec, tag, form), None
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


def _able(context: Context, spec: dict[str, Any], tag: ImageTag | None, form: Form) -> Sequence[Region]:
    """The regions that run what this is: images, or programs; of an engine's image that was built here the one that
    has it, unless others can pull it. Raises `Invalid` where none does."""
    image = read_image(spec)
    if image is None and tag is None:
        return _able_to_run(context, form)
    on_engine = image is not None or (tag is not None and tag.region != "")
    found = [region for region in context.regions if region.runs_images == on_engine]
    if tag is not None and tag.region and not tag.source:
        found = [region for region in found if region.name == tag.region]
        if not found:
            rule = f"names an image that the engine of the region {tag.region!r} has alone, and there is no such region"
            raise Invalid(FIELD, rule, value=(spec.get("runtime") or {}).get("image"))
    if image is not None and not found:
        raise Invalid(FIELD, _NEEDS, value=image.text, hint=f"{_add(context)} {OTHER_SOURCES}")
    return found


def _able_to_run(context: Context, form: Form) -> Sequence[Region]:
    """The same for what is made of a source."""
    if form is Form.OPEN:
        return context.regions
    found = [region for region in context.regions if region.runs_images == (form is Form.IMAGE)]
    if form is Form.IMAGE and not found:
        raise Invalid(f"the {DOCKERFILE} at the top of the source", _NEEDS, hint=f"{_add(context)} {NO_DOCKERFILE}")
    return found


def _add(context: Context) -> str:
    return f'Add one to {context.data.config}: [regions.NAME] with driver = "docker" and engine.'


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
