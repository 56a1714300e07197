"""An explanation in the shape of the wire."""

from homeport.app.explain import Explanation
from homeport.placement.plan import Refusal
from homeport.policy.decision import Step
from homeport.wire.homeport import Explain, ExplainPlan, ExplainRefusal, ExplainStep


def explanation_of(explanation: Explanation) -> Explain:
    placed = explanation.verdict.placed
    refused = isinstance(placed, Refusal)
    newest = explanation.newest
    return Explain(
        kind=explanation.resource.kind.value,
        name=explanation.resource.name,
        outcome="refused" if refused else "allowed",
        steps=[_step(step) for step in placed.reasons],
        plan=None if isinstance(placed, Refusal) else ExplainPlan(region=placed.region, flavor=str(placed.flavor)),
        refusal=(
            ExplainRefusal(message=placed.message, hint=placed.hint, policies=list(placed.policies))
            if isinstance(placed, Refusal)
            else None
        ),
        newest_revision=(
            f"{newest.id} was placed in region {newest.region} on {newest.flavor}" if newest is not None else None
        ),
    )


def _step(step: Step) -> ExplainStep:
    return ExplainStep(subject=step.subject, verdict=step.verdict.value, sentence=step.sentence, hint=step.hint or None)
