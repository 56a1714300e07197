"""The unmodified public Python SDK against a running Homeport, pointed there by `homeport env` and nothing else."""

import textwrap

import pytest

from homeport.testing.sdk import with_sdk
from homeport.testing.system import System

AGENT = {
    "main.py": textwrap.dedent(
        """
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                while True:
                    event = await receive()
                    await send({"type": event["type"] + ".complete"})
                    if event["type"] == "lifespan.shutdown":
                        return
            body = (await receive()).get("body", b"")
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"heard " + body})
        """
    )
}
JOB = {
    "main.py": textwrap.dedent(
        """
        from blaxel.core.jobs import bl_start_job

        def work(name: str) -> None:
            print("hello", name)

        bl_start_job.start(work)
        """
    ),
    "requirements.txt": "blaxel==0.4.24\n",
}


@pytest.fixture(scope="module")
def deployed(system: System) -> None:
    assert system.deploy("agents", "sdk-agent", AGENT)["status"] == "DEPLOYED"
    assert system.deploy("jobs", "sdk-job", JOB)["status"] == "DEPLOYED"


@pytest.mark.usefixtures("deployed")
def test_the_sdk_calls_an_agent(system: System) -> None:
    printed = with_sdk(
        system,
        """
        from blaxel.core.agents import bl_agent
        print(bl_agent("sdk-agent").run({"inputs": "hi"}))
        """,
    )
    assert "heard" in printed and "inputs" in printed


@pytest.mark.usefixtures("deployed")
def test_the_sdk_runs_a_job_to_its_end(system: System) -> None:
    printed = with_sdk(
        system,
        """
        from blaxel.core.jobs import bl_job
        job = bl_job("sdk-job")
        execution = job.create_execution({"tasks": [{"name": "a"}, {"name": "b"}]})
        done = job.wait_for_execution(execution, max_wait=60, interval=1)
        print(done.status, done.stats.success)
        """,
    )
    assert printed.split() == ["succeeded", "2"]


def test_the_sdk_creates_reads_lists_updates_and_deletes_policies_agents_and_jobs(system: System) -> None:
    printed = with_sdk(
        system,
        """
        from blaxel.core.client import client
        from blaxel.core.client.api.agents import delete_agent, get_agent, list_agents
        from blaxel.core.client.api.jobs import list_jobs
        from blaxel.core.client.api.policies import create_policy, delete_policy, get_policy
        from blaxel.core.client.api.policies import list_policies, update_policy
        from blaxel.core.client.models import Metadata, Policy, PolicyLocation, PolicyLocationType
        from blaxel.core.client.models import PolicySpec, PolicySpecType

        spec = PolicySpec(type_=PolicySpecType.LOCATION,
                          locations=[PolicyLocation(name="local", type_=PolicyLocationType.LOCATION)])
        made = create_policy.sync(client=client, body=Policy(metadata=Metadata(name="by-sdk"), spec=spec))
        print(made.metadata.name, made.spec.type_)
        made.metadata.display_name = "By SDK"
        print(update_policy.sync("by-sdk", client=client, body=made).metadata.display_name)
        print(get_policy.sync("by-sdk", client=client).metadata.display_name)
        print([policy.metadata.name for policy in list_policies.sync(client=client).data])
        print(delete_policy.sync("by-sdk", client=client).metadata.name)
        print(type(list_agents.sync(client=client)).__name__, type(list_jobs.sync(client=client)).__name__)
        missing = get_agent.sync("never-was", client=client)
        print(missing.code)
        """,
    )
    lines = printed.splitlines()
    assert lines[0].startswith("by-sdk")
    assert lines[1:3] == ["By SDK", "By SDK"]
    assert "by-sdk" in lines[3]
    assert lines[4] == "by-sdk"
    assert lines[6] == "404"


def test_the_sdk_creates_an_agent_uploads_its_folder_and_updates_it(system: System) -> None:
    """The SDK has no call for uploads, so its own HTTP client with its own models asks for the address."""
    printed = with_sdk(
        system,
        f"""
        import io, time, zipfile
        import httpx
        from blaxel.core.agents import bl_agent
        from blaxel.core.client import client
        from blaxel.core.client.api.agents import delete_agent, get_agent, update_agent
        from blaxel.core.client.models import Agent, AgentRuntime, AgentSpec, Env, Metadata

        def settled():
            for _ in range(600):
                agent = get_agent.sync("made-by-sdk", client=client)
                if agent.status in ("DEPLOYED", "FAILED"):
                    return agent
                time.sleep(0.1)

        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("main.py", {AGENT["main.py"]!r})
        wanted = Agent(metadata=Metadata(name="made-by-sdk"), spec=AgentSpec(runtime=AgentRuntime(memory=256)))
        answer = client.get_httpx_client().post("/agents", params={{"upload": "true"}}, json=wanted.to_dict())
        upload = httpx.put(answer.headers["x-blaxel-upload-url"], content=archive.getvalue())
        print(answer.status_code, upload.status_code, settled().status)
        print(bl_agent("made-by-sdk").run({{"inputs": "hi"}}))

        agent = settled()
        agent.spec.runtime.envs = [Env(name="GREETING", value="hello")]
        update_agent.sync("made-by-sdk", client=client, body=agent)
        print(settled().spec.runtime.envs[0].value, delete_agent.sync("made-by-sdk", client=client).status)
        """,
    )
    lines = printed.splitlines()
    assert lines[0] == "200 200 DEPLOYED"
    assert "heard" in lines[1]
    assert lines[2] == "hello DELETING"


@pytest.mark.usefixtures("deployed")
def test_a_program_finds_its_installation_through_the_sdk(system: System) -> None:
    program = textwrap.dedent(
        """
        from fastapi import FastAPI
        from blaxel.core.agents import bl_agent

        app = FastAPI()

        @app.post("/")
        async def relay() -> dict[str, str]:
            return {"neighbour": await bl_agent("sdk-agent").arun({"inputs": "from inside"})}
        """
    )
    files = {"main.py": program, "requirements.txt": "fastapi==0.165.0\nuvicorn==0.54.0\nblaxel==0.4.24\n"}
    assert system.deploy("agents", "relay", files)["status"] == "DEPLOYED"
    answer = system.gateway.post("/agents/relay", json={})
    assert answer.status_code == 200, answer.text
    assert "from inside" in answer.json()["neighbour"]
    system.remove("agents", "relay")
