"""Explanations of decisions and dry runs of policies, in the shape of the wire."""

from collections.abc import Callable, Sequence

from homeport.app.dry_run import SHOWN_MOST, DryRun, Effect
from homeport.app.explain import Explanation, PolicyExplanation, PolicyUser
from homeport.placement.plan import Plan, Refusal
from homeport.policy.steps import Step
from homeport.wire.explanations import (
    DryRunEffect,
    Explain,
    ExplainPlan,
    ExplainRefusal,
    ExplainRevision,
    ExplainStep,
    ExplainUser,
    PolicyDryRun,
)


def explanation_of(explanation: Explanation) -> Explain:
    placed, newest = explanation.verdict.placed, explanation.newest
    return Explain(
        kind=explanation.resource.kind.value,
        name=explanation.resource.name,
        outcome="refused" if isinstance(placed, Refusal) else "allowed",
        steps=[_step(step) for step in (*explanation.machines, *placed.reasons)],
        plan=ExplainPlan(region=placed.region, flavor=str(placed.flavor)) if isinstance(placed, Plan) else None,
        refusal=_refusal(placed) if isinstance(placed, Refusal) else None,
        newest_revision=ExplainRevision(
            id=newest.id,
            state=newest.state.value,
            region=newest.region,
            flavor=newest.flavor,
            allowed=explanation.newest_allowed,
        )
        if newest is not None
        else None,
    )


def policy_explanation_of(explanation: PolicyExplanation) -> Explain:
    users = [_user(user) for user in explanation.users]
    return Explain(
        kind=explanation.policy.kind.value,
        name=explanation.policy.name,
        outcome="refused" if any(user.outcome == "refused" for user in users) else "allowed",
        steps=[_step(step) for step in (*explanation.machines, *explanation.steps)],
        users=users,
        users_total=explanation.total,
    )


def dry_run_of(result: DryRun) -> PolicyDryRun:
    return PolicyDryRun(
        name=result.change.name,
        change="delete" if result.change.spec is None else "update" if result.exists else "create",
        outcome="refuses" if result.refused else "safe",
        refused_total=len(result.refused),
        allowed_total=len(result.allowed),
        moved_total=len(result.moved),
        unaffected=result.unaffected,
        refused_anyway=result.refused_anyway,
        refused=_effects(result.refused, _refused),
        allowed=_effects(result.allowed, _allowed),
        moved=_effects(result.moved, _moved),
    )


def _step(step: Step) -> ExplainStep:
    return ExplainStep(subject=step.subject, verdict=step.verdict.value, sentence=step.sentence, hint=step.hint or None)


def _refusal(placed: Refusal) -> ExplainRefusal:
    return ExplainRefusal(message=placed.message, hint=placed.hint, policies=list(placed.policies))


def _user(user: PolicyUser) -> ExplainUser:
    last = user.verdict.placed.reasons[-1]
    return ExplainUser(
        kind=user.resource.kind.value,
        name=user.resource.name,
        outcome="refused" if user.verdict.refusal is not None else "allowed",
        sentence=last.sentence,
    )


def _effects(found: Sequence[Effect], words: Callable[[Effect], tuple[str, str]]) -> list[DryRunEffect]:
    shown = []
    for effect in found[:SHOWN_MOST]:
        sentence, hint = words(effect)
        resource = effect.resource
        shown.append(DryRunEffect(kind=resource.kind.value, name=resource.name, sentence=sentence, hint=hint or None))
    return shown


def _refused(effect: Effect) -> tuple[str, str]:
    refusal = effect.after.refusal
    return (refusal.message, refusal.hint) if refusal is not None else ("", "")


def _allowed(effect: Effect) -> tuple[str, str]:
    refusal = effect.before.refusal
    return f"Refused now: {refusal.message}" if refusal is not None else "", ""


def _moved(effect: Effect) -> tuple[str, str]:
    places = (effect.before.plan(), effect.after.plan())
    now, then = (f"in region {plan.region} on {plan.flavor}" for plan in places)
    return f"Would be placed {then}, not {now}.", ""
