"""A task's variables fit the public SDKs and cannot be replaced by the job's owner."""

from dataclasses import replace

from homeport.core.environment import EnvVar
from homeport.jobs.environment import TaskContext, task_environment

CONTEXT = TaskContext(
    workspace="default",
    job="resize",
    execution_id="exec-1",
    index=7,
    count=20,
    attempt=2,
    region="local",
    data_url="http://127.0.0.1:8080/v0/homeport/task-data/token",
    api_url="http://127.0.0.1:8080/v0",
    run_url="http://127.0.0.1:8080",
    client_credentials="secret-key",
)


def test_the_real_index_is_there_and_the_data_index_fits_the_answer_of_one() -> None:
    values = task_environment(CONTEXT).values
    assert (values["TASK_INDEX"], values["TASK_COUNT"]) == ("7", "20")
    assert values[values["BL_TASK_KEY"]] == "0"
    assert values["BL_TASK_KEY"] != "TASK_INDEX"
    assert values[values["BL_EXECUTION_KEY"]] == "exec-1"
    assert values["BL_EXECUTION_DATA_URL"] == CONTEXT.data_url


def test_the_attempt_counts_from_zero_as_its_alias_does() -> None:
    values = task_environment(CONTEXT).values
    assert values["TASK_ATTEMPT"] == values["CLOUD_RUN_TASK_ATTEMPT"] == "1"
    assert task_environment(replace(CONTEXT, attempt=1)).values["TASK_ATTEMPT"] == "0"
    assert all(values[f"CLOUD_RUN_TASK_{key}"] == values[f"TASK_{key}"] for key in ("INDEX", "COUNT", "ATTEMPT"))


def test_overrides_win_over_the_jobs_own_and_neither_over_ours() -> None:
    own = (EnvVar(name="SIZE", value="1"), EnvVar(name="TASK_INDEX", value="99"), EnvVar(name="LANG", value="de"))
    override = (EnvVar(name="SIZE", value="2"), EnvVar(name="BL_API_KEY", value="stolen"))
    found = task_environment(replace(CONTEXT, envs=own, env_override=override))
    assert (found.values["SIZE"], found.values["LANG"]) == ("2", "de")
    assert (found.values["TASK_INDEX"], found.values["BL_CLIENT_CREDENTIALS"]) == ("7", "secret-key")
    assert found.ignored == ("BL_API_KEY", "TASK_INDEX")
    assert "BL_API_KEY" not in found.values


def test_secrets_stay_out_of_representations() -> None:
    context = replace(CONTEXT, envs=(EnvVar(name="TOKEN", value="hush", secret=True),))
    shown = repr(context) + repr(task_environment(context))
    assert "hush" not in shown and "secret-key" not in shown
