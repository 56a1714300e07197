"""The variables of a task, as the public SDKs expect them (a task's arguments come from a URL, not from here).

Called by the runner when it starts an attempt. The data URL answers one task's element only, so the variable that
`BL_TASK_KEY` names holds `0`, the place of that element in the answer; `TASK_INDEX` is the task's real index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from homeport.core.environment import DEFAULTS, Environment, EnvVar, compose, surroundings

DATA_INDEX = "HOMEPORT_TASK_DATA_INDEX"
TASK_DATA = "/v0/homeport/task-data"  # the data URLs are below it


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """What an attempt's variables are made of. `attempt` counts from 1, as the store does. `data_url` carries its own
    credential. `client_credentials` is what the job's own account signs in with (base64 of `id:secret`). `extra` are
    variables of the machinery, such as a PATH that finds the bundle's interpreter; they are defaults that the job's
    owner may replace."""

    workspace: str
    job: str
    execution_id: str
    index: int
    count: int
    attempt: int
    region: str
    data_url: str
    api_url: str
    run_url: str
    client_credentials: str = field(repr=False)
    envs: Sequence[EnvVar] = ()
    env_override: Sequence[EnvVar] = ()
    extra: dict[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=lambda: DEFAULTS)


def task_environment(context: TaskContext) -> Environment:
    """Every variable of one attempt. The execution's overrides win over the job's own variables, Homeport's over
    both.

    TASK_ATTEMPT counts from 0, because CLOUD_RUN_TASK_ATTEMPT does (0 for the first attempt, one more for each
    retry) and the two are aliases: a program that moves here from there finds what it knows.
    """
    numbers = {"INDEX": context.index, "COUNT": context.count, "ATTEMPT": context.attempt - 1}
    platform = {f"{prefix}TASK_{key}": str(value) for key, value in numbers.items() for prefix in ("", "CLOUD_RUN_")}
    platform |= {
        "BL_EXECUTION_DATA_URL": context.data_url,
        "BL_TASK_KEY": DATA_INDEX,
        DATA_INDEX: "0",
        "BL_EXECUTION_KEY": "BL_EXECUTION_ID",
        "BL_EXECUTION_ID": context.execution_id,
        **surroundings("job", context.job, context),
    }
    return compose({**context.defaults, **context.extra}, [*context.envs, *context.env_override], platform)
