"""Which fields of an accepted order have no effect, for whoever must be told."""

from collections.abc import Mapping
from typing import Any

from homeport.core.fields import Field, Ignored
from homeport.core.fields import ignored_fields as ignored_by
from homeport.core.ids import Kind
from homeport.core.volume_fields import VOLUME_FIELDS
from homeport.jobs.fields import JOB_FIELDS
from homeport.policy.fields import POLICY_FIELDS
from homeport.workloads.fields import AGENT_FIELDS, FUNCTION_FIELDS

FIELDS: Mapping[Kind, Mapping[str, Field]] = {
    Kind.POLICY: POLICY_FIELDS,
    Kind.VOLUME: VOLUME_FIELDS,
    Kind.AGENT: AGENT_FIELDS,
    Kind.FUNCTION: FUNCTION_FIELDS,
    Kind.JOB: JOB_FIELDS,
}


def ignored_fields(kind: Kind, spec: Mapping[str, Any]) -> tuple[Ignored, ...]:
    return ignored_by(FIELDS[kind], spec)
