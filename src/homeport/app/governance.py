"""The policy decision and the placement of one workload, from what the store holds. Every way to start something
(deployment, update, execution) and `explain` come through here, so that nothing goes around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from homeport.app.context import Context
from homeport.core.clock import timestamp
from homeport.core.errors import Denied, Invalid
from homeport.core.ids import Kind
from homeport.placement.plan import Plan, Refusal, place
from homeport.policy.decision import Decision, decide
from homeport.policy.inventory import read_flavors
from homeport.policy.rules import MissingPolicy, PolicyRule
from homeport.store.contract import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision and what placement made of it."""

    decision: Decision
    placed: Plan | Refusal

    def plan(self) -> Plan:
        """The plan. Raises `Denied` with policy, rule, what exists and what to change if there is none."""
        if isinstance(self.placed, Refusal):
            raise self.placed.as_error()
        return self.placed


def judge(context: Context, tx: Transaction, workspace: str, kind: Kind, spec: dict[str, Any]) -> Verdict:
    """Decide where this specification may run now, and where it would. Raises `Invalid` for an unknown region."""
    rules = attached_policies(tx, workspace, spec)
    decision = decide(kind, rules, context.regions)
    placed = place(decision, context.regions, pin=spec.get("region"), flavors_asked=read_flavors(spec))
    return Verdict(decision=decision, placed=placed)


def attached_policies(tx: Transaction, workspace: str, spec: dict[str, Any]) -> Sequence[PolicyRule | MissingPolicy]:
    """The policies that `spec.policies` names, each once, in that order. Raises `Denied` for one that was stored by
    another version and cannot decide anything in this one."""
    return [_attached(tx, workspace, name) for name in dict.fromkeys(spec.get("policies") or [])]


def _attached(tx: Transaction, workspace: str, name: str) -> PolicyRule | MissingPolicy:
    stored = tx.resources.get(workspace, Kind.POLICY, name)
    if stored is None:
        gone = tx.tombstones.get(workspace, name)
        return MissingPolicy(name, f"{gone.deleted_by} on {timestamp(gone.deleted_at)}" if gone else "")
    try:
        return PolicyRule.from_spec(name, stored.spec)
    except Invalid as exc:
        hint = "Update or detach the policy."
        raise Denied(f'Policy "{name}" cannot be used by this version: {exc.message}', hint=hint) from exc
