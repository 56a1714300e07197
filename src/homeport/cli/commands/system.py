"""Commands about the installation itself: up, down, status, env, doctor, host-setup, version."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli.options import Data, Format, Output, Workspace
from homeport.cli.output import duration, emit, note, table
from homeport.core.limits import DRAIN_S_MAX

_DRAIN = "Seconds for which a stop lets requests and running tasks go on; 0: none."


def up(
    data: Data = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The port; default: the last one, 8080, or the next free one.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when it is ready; `homeport down` stops it.")
    ] = False,
    country: Annotated[str | None, typer.Option(help="Where this machine stands, such as DE; policies ask.")] = None,
    continent: Annotated[str | None, typer.Option(help="AF, AN, AS, EU, NA, OC or SA.")] = None,
    drain: Annotated[float, typer.Option(min=0, max=DRAIN_S_MAX, help=_DRAIN)] = 30,
    insecure_no_sandbox: Annotated[
        bool, typer.Option("--insecure-no-sandbox", help="Run programs with your own rights. Last resort.")
    ] = False,
) -> None:
    """Start Homeport and watch over it until Ctrl-C.

    Ctrl-C lets what is under way end; a second one stops at once.

    \b
    Examples:
      homeport up
      homeport up --country DE --continent EU
      homeport up --data ./data --port 9000 --detach
    """
    _warn_of_login(data)
    words = ["--host", host, "--drain", str(drain)]
    for option, value in (("--data", data), ("--port", port), ("--country", country), ("--continent", continent)):
        words += [option, str(value)] if value is not None else []
    words += ["--detach"] if detach else []
    words += ["--insecure-no-sandbox"] if insecure_no_sandbox else []
    sys.stdout.flush()
    # Becomes the supervisor: what stays for days holds nothing of the command line, and signals go straight to it.
    os.execv(sys.executable, [sys.executable, "-m", "homeport.supervise", *words])


def _warn_of_login(data: Path | None) -> None:
    """Whoever is logged in elsewhere would not reach what is being started."""
    from homeport.client.logins import read_logins

    if data is None and not os.environ.get("HOMEPORT_DATA") and (current := read_logins().chosen) is not None:
        note(f"You are logged in to {current.url}: commands go there until `homeport logout`, or with --data.")


def down(
    data: Data = None,
    drain: Annotated[
        float | None, typer.Option(min=0, max=DRAIN_S_MAX, help=_DRAIN + " Default: what `up` was told.")
    ] = None,
    output: Format = Output.TEXT,
) -> None:
    """Stop Homeport and everything that it runs.

    First it lets requests and running tasks end; Ctrl-C meanwhile stops at once.
    It says what was stopped, and what the next `homeport up` goes on with.

    \b
    Examples:
      homeport down
      homeport down --data ./data --drain 0
    """
    from homeport.settings import DataDir, default_data
    from homeport.supervise.down import down as stop
    from homeport.supervise.drain import RealPlant, sentences
    from homeport.supervise.progress import PlainProgress, progress_here

    directory = DataDir((data or default_data()).absolute())
    progress = progress_here() if output is Output.TEXT else PlainProgress(sys.stderr)
    try:
        stopped = stop(directory, progress, RealPlant(directory), drain)
        if output is not Output.TEXT:
            emit({"ran": stopped is not None, **(stopped or {})}, output)
        elif stopped is None:
            progress.say(f"Nothing of Homeport runs with {directory.root}.")
        elif stopped:
            for line in sentences(stopped):
                progress.say(line)
    finally:
        progress.close()


def status(data: Data = None, workspace: Workspace = None, output: Format = Output.TEXT) -> None:
    """Show what runs, how it is isolated, and what you should know.

    \b
    Examples:
      homeport status
      homeport status -o json
    """
    from homeport.cli.options import connect
    from homeport.core.ids import WORKLOADS

    with connect(data, workspace) as client:
        seen = client.status()
        url = client.url
    if output is not Output.TEXT:
        emit(seen, output)
        return
    print(f"Homeport {seen.get('version', '?')} at {url}")
    counts = ", ".join(_count(seen, kind.plural) for kind in WORKLOADS)
    print(f"workspace {seen.get('workspace')}: {counts}")
    if facts := seen.get("sandbox"):
        print(f"sandbox: {_sandbox(facts)}")
    for execution, state in (seen.get("executions") or {}).items():
        print(f"execution {execution}: {state}")
    for region in seen.get("regions") or ():
        print(f"region: {region}")
    if replicas := seen.get("replicas"):
        names = ("kind", "name", "revision", "state", "port", "restarts")
        table([name.upper() for name in names], [[item.get(name, "-") for name in names] for item in replicas])
    for remark in seen.get("notes") or ():
        print(f"note: {remark}")


def _count(seen: dict[str, Any], what: str) -> str:
    number = seen.get(what, 0)
    return f"{number} {what.removesuffix('s') if number == 1 else what}"


_LIMITS = (("memory_limit", "memory"), ("process_limit", "processes"), ("disk_limit", "disk"))


def _sandbox(facts: dict[str, Any]) -> str:
    """The node's facts in one line."""
    user = f"{facts.get('sandbox')}, programs run as user {facts.get('unit_uid')}"
    kept = ", ".join(f"{facts.get(key)} ({what})" for key, what in _LIMITS)
    limits = f"limits by {kept}"
    layer = "own writable copy of the bundle" if facts.get("overlay") else "bundle not writable"
    return "; ".join((user, limits, layer, f"network: {facts.get('network')}"))


def env(
    data: Data = None,
    output: Format = Output.TEXT,
) -> None:
    """Print the variables that point the public SDKs here.

    They point the public command line here, too.

    \b
    Examples:
      eval "$(homeport env)"
      homeport env -o json
    """
    import shlex

    from homeport.client.installation import find_installation
    from homeport.settings import default_data

    # The directory's own facts even when the environment already points somewhere: this command makes that environment.
    found = find_installation((data or default_data()).absolute())
    variables = sdk_variables(found.url, found.key, found.workspace)
    if output is Output.TEXT:
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        emit(variables, output)


def sdk_variables(url: str, key: str, workspace: str) -> dict[str, str]:
    """What the public SDKs need. BL_DISABLE_H2 keeps the TypeScript SDK from looking for the public edge;
    BL_API_VERSION keeps newer SDKs at the version that is served; the hook on PYTHONPATH gives the Python SDK the
    address that it has no setting for."""
    from homeport.client.installation import API_PREFIX
    from homeport.client.transport import API_VERSION

    hook = str(Path(__file__).parent.parent.parent / "sdk_hook")
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != hook]
    return {
        "BL_API_URL": f"{url}{API_PREFIX}",
        "BL_RUN_URL": url,
        "BL_WORKSPACE": workspace,
        "BL_API_KEY": key,
        "BL_API_VERSION": API_VERSION,
        "BL_DISABLE_H2": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": os.pathsep.join([hook, *others]),
    }


def doctor(data: Data = None, output: Format = Output.TEXT) -> None:
    """Check this machine and say how to mend what is missing.

    Exit code 1 when something needed is.

    \b
    Example:
      homeport doctor
    """
    import json
    import subprocess

    from homeport.core.errors import Unavailable
    from homeport.settings import default_data

    directory = (data or default_data()).absolute()
    command = [sys.executable, "-m", "homeport.supervise.doctor", "--data", str(directory)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Unavailable("The examination itself failed; see above.")
    findings = json.loads(done.stdout)
    if output is not Output.TEXT:
        emit(findings, output)
    else:
        for finding in findings:
            _show_finding(finding)
    if any(finding["needed"] and not finding["ok"] for finding in findings):
        raise typer.Exit(1)


def _show_finding(finding: dict[str, Any]) -> None:
    mark = "ok  " if finding["ok"] else "BAD " if finding["needed"] else "note"
    print(f"{mark} {finding['what']}: {finding['found']}")
    if not finding["ok"]:
        print(f"     {finding['why']}")
        if finding["mend"]:
            print(f"     {finding['mend']}")


def gc(
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds for which a thing must be seen before it counts.")
    ] = 5.0,
    output: Format = Output.TEXT,
) -> None:
    """Find what nobody owns any more, and remove what is safe.

    Processes, control groups, directories, sockets, files, routes and rows of this data directory's installation, and
    its containers, networks, volumes and images on engines, whether it runs or not. What a running part is about to
    remove by itself is no finding; `-o json` shows it as pending.

    Exit code 1 when something was found (--dry-run), or when something of it stays.

    \b
    Examples:
      homeport gc --dry-run
      homeport gc --data ./data
    """
    import json
    import subprocess

    from homeport.core.errors import Denied, Unavailable
    from homeport.settings import default_data

    directory = (data or default_data()).absolute()
    command = [sys.executable, "-m", "homeport.leaks", "--data", str(directory), "--wait", str(wait)]
    done = subprocess.run([*command, *(["--dry-run"] if dry_run else [])], capture_output=True, text=True, check=False)
    if done.returncode:
        message, _, hint = done.stderr.strip().partition("\n")
        raise (Denied if done.returncode == 3 else Unavailable)(message, hint=hint)
    seen = json.loads(done.stdout)
    findings = seen["findings"]
    if output is not Output.TEXT:
        emit(seen, output)
    elif not findings:
        print(
            "Nothing is left behind." if directory.is_dir() else f"There is no {directory}, and nothing is left of it."
        )
    else:
        _show_leaks(findings, dry_run=dry_run)
    if any(dry_run or finding["stays"] for finding in findings):
        raise typer.Exit(1)


def _show_leaks(findings: list[dict[str, Any]], *, dry_run: bool) -> None:
    rows = []
    for finding in findings:
        age = "-" if finding["age_s"] is None else duration(finding["age_s"])
        done = f"would {finding['action']}" if dry_run else finding["stays"] or "gone"
        rows.append((finding["kind"], finding["name"], age, finding["why"], done))
    table(("KIND", "NAME", "AGE", "WHY", "GC" if dry_run else "NOW"), rows)


def host_setup(
    apply: Annotated[bool, typer.Option("--apply", help="Do it; needs root.")] = False,
) -> None:
    """Show, or do, what lets ordinary users make sandboxes.

    \b
    Examples:
      homeport host-setup
      sudo homeport host-setup --apply
    """
    import shlex

    from homeport.node.host import host_setup

    setup = host_setup()
    if not setup.files and not setup.commands:
        print("Nothing to do: nothing known on this machine forbids sandboxes. `homeport doctor` tries one.")
        return
    if not apply:
        for path, text in setup.files.items():
            print(f"# write {path}:\n{text}", end="")
        for command in setup.commands:
            print(f"# run: {shlex.join(command)}")
        note("Do it with `sudo homeport host-setup --apply`.")
        return
    _set_up(setup.files, setup.commands)


def _set_up(files: dict[Path, str], commands: tuple[tuple[str, ...], ...]) -> None:
    import shlex
    import subprocess

    from homeport.core.errors import Denied, Unavailable

    if os.geteuid() != 0:
        raise Denied("This changes the machine, so it needs root.", hint="Run `sudo homeport host-setup --apply`.")
    for path, text in files.items():
        print(f"writing {path}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for command in commands:
        print(f"+ {shlex.join(command)}", flush=True)
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            raise Unavailable(f"That command failed: {exc}.") from exc


def version(output: Format = Output.TEXT) -> None:
    """Print the version.

    \b
    Example:
      homeport version
    """
    from homeport import __version__

    if output is Output.TEXT:
        print(__version__)
    else:
        emit({"version": __version__}, output)
