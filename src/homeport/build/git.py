"""How git is run to fetch a repository: the script, its environment and its configuration, and what its errors mean.
Pure; called by the fetcher.

Nothing of the repository is run: no hook, no filter, no helper, no submodule unless the operator wants them. git is
told by its own configuration file and by variables; it reads none of the host's. A credential is a variable of the
sandbox, which git asks for through `askpass` and gets for the repository's own host alone.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from homeport.build.errors import BuildFailed
from homeport.build.recipe import MARK, PATH
from homeport.build.registry import way_out
from homeport.build.repository import Repository

PLACE = "/repository"  # in the sandbox: `tree` is the work tree, `commit` what was fetched
TOOLS = "/fetch"  # in the sandbox: `gitconfig`, `askpass`, `known_hosts`
STEP = "Fetching the repository"
_USER = "x-access-token"  # forges take any name beside a token, or want this one
_BLOCK_BYTES = 512  # of `ulimit -f`

CONFIG = """\
[core]
\thooksPath = /dev/null
\tattributesFile = /dev/null
\tsymlinks = true
\tfsmonitor = false
[protocol]
\tallow = never
[transfer]
\tfsckObjects = true
[fetch]
\tfsckObjects = true
\trecurseSubmodules = false
[submodule]
\trecurse = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[http]
\tlowSpeedLimit = 1000
\tlowSpeedTime = 60
[init]
\tdefaultBranch = main
[advice]
\tdetachedHead = false
[safe]
\tdirectory = *
"""

ASKPASS = """\
#!/bin/sh
# Answers git's questions about the repository's own host, whatever a redirection or a submodule may ask.
case "$1" in
"Username for '$HOMEPORT_GIT_SCHEME://$HOMEPORT_GIT_HOST': ") printf '%s\\n' "$HOMEPORT_GIT_USER" ;;
"Password for '$HOMEPORT_GIT_SCHEME://"*"@$HOMEPORT_GIT_HOST': ") printf '%s\\n' "$HOMEPORT_GIT_PASSWORD" ;;
*) exit 1 ;;
esac
"""

_SSH = (
    "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes"
    " -o UserKnownHostsFile=$HOMEPORT_GIT_TOOLS/known_hosts -o GlobalKnownHostsFile=/dev/null"
    " -o ConnectTimeout=20 -o PermitLocalCommand=no -o ClearAllForwardings=yes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A stored secret as git needs it: a name and a password for https, a private key for ssh."""

    user: str = ""
    password: str = ""
    key: str = ""


def login(repository: Repository, value: str) -> Login:
    """What the stored value is for this repository. Raises `BuildFailed` for one that does not fit its address."""
    is_key = value.lstrip().startswith("-----BEGIN ")
    if is_key != (repository.scheme == "ssh"):
        wanted = "a private key" if repository.scheme == "ssh" else "a token or user:password"
        raise BuildFailed(STEP, f"needs {wanted} in the secret {repository.secret!r} for {repository.url}")
    if is_key:
        return Login(key=value.strip() + "\n")
    user, colon, password = value.strip().partition(":")
    return Login(user=user, password=password) if colon else Login(user=_USER, password=value.strip())


def environment(repository: Repository, access: Login | None, registry: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the unit. registry: the way out of this machine (proxies, certificates)."""
    env = way_out(registry)
    if "SSL_CERT_FILE" in registry:
        env["GIT_SSL_CAINFO"] = registry["SSL_CERT_FILE"]
    env |= {
        "PATH": PATH,
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": f"{TOOLS}/gitconfig",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TEMPLATE_DIR": "",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": repository.scheme,
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_VARIANT": "ssh",
        "GIT_SSH_COMMAND": _SSH,
        "GIT_ASKPASS": f"{TOOLS}/askpass",
        "HOMEPORT_GIT_TOOLS": TOOLS,
        "HOMEPORT_GIT_SCHEME": repository.scheme,
        "HOMEPORT_GIT_HOST": repository.host,
    }
    if access and access.key:
        env |= {"HOMEPORT_GIT_KEY": access.key}
    elif access:
        env |= {"HOMEPORT_GIT_USER": access.user, "HOMEPORT_GIT_PASSWORD": access.password}
    return env


def title(repository: Repository) -> str:
    return f"Fetching {repository.shown}"


def command(repository: Repository) -> str:
    """What is done, as people would type it."""
    return shlex.join(["git", "fetch", "--depth=1", repository.url, repository.ref or "HEAD"])


def script(repository: Repository, *, submodules: bool, most_bytes: int) -> str:
    """The script for `/bin/sh`. It ends with the commit in PLACE/commit and its files in PLACE/tree."""
    values = {"url": repository.url, "ref": repository.ref or "", "tree": f"{PLACE}/tree"}
    lines = ["exec 2>&1", *(f"{name}={shlex.quote(value)}" for name, value in values.items())]
    lines += [f"ulimit -f {most_bytes // _BLOCK_BYTES + 1}", _BEGIN, _announce(title(repository))]
    lines.append(_find(repository))
    lines.append(_CHECKOUT)
    if submodules:
        lines += [_announce("Fetching submodules"), _SUBMODULES]
    lines.append(_END)
    return "\n".join(lines) + "\n"


def _announce(text: str) -> str:
    return f"printf '%s\\n' {shlex.quote(MARK + text)}"


_BEGIN = """\
fail() { printf 'error: %s\\n' "$1"; exit 1; }
if [ -n "${HOMEPORT_GIT_KEY:-}" ]; then
  umask 077
  key=$(mktemp) && printf '%s' "$HOMEPORT_GIT_KEY" > "$key" || exit 1
  trap 'rm -f "$key"' EXIT
  export GIT_SSH_COMMAND="$GIT_SSH_COMMAND -o IdentitiesOnly=yes -i $key"
  unset HOMEPORT_GIT_KEY
  umask 022
fi
fetch() { git fetch --quiet --no-tags --no-write-fetch-head --no-recurse-submodules "$@"; }
everything() { fetch "$url" '+refs/heads/*:refs/remotes/source/*' '+refs/tags/*:refs/tags/*'; }
git init --quiet --template= "$tree" && cd "$tree" || exit 1"""

_NAMED = """\
listed=$(git ls-remote "$url" "refs/heads/$ref" "refs/tags/$ref") || exit 1
want=
for name in "refs/tags/$ref" "refs/heads/$ref"; do
  printf '%s\\n' "$listed" | grep -q "[[:space:]]$name\\$" && want=$name
done"""
_BY_NAME = 'fetch --depth=1 "$url" "+$want:refs/homeport/source" || exit 1'
_UNKNOWN = 'fail "there is no branch, tag or commit $ref in $url"'


def _find(repository: Repository) -> str:
    """Shell that leaves what is wanted in refs/homeport/source. A branch comes before a tag, and a tag before a commit
    of which the ref is a part. A whole commit is that commit and nothing else: whoever names one trusts no name of the
    repository's owner. One that the server gives to nobody by its name is looked for among all."""
    if repository.ref is None:
        return 'fetch --depth=1 "$url" +HEAD:refs/homeport/source || exit 1'
    by_part = (
        "{ everything && git update-ref refs/homeport/source "
        f'"$(git rev-parse --verify --quiet "$ref^{{commit}}" || printf %s missing)" 2>/dev/null || {_UNKNOWN}; }}'
    )
    if repository.is_fixed:
        by_commit = f'fetch --depth=1 "$url" "+$ref:refs/homeport/source" 2>/dev/null || {by_part}'
        return f'{by_commit}\n[ "$(git rev-parse refs/homeport/source)" = "$ref" ] || {_UNKNOWN}'
    if not repository.may_be_commit:
        return f'{_NAMED}\n[ -n "$want" ] || {_UNKNOWN}\n{_BY_NAME}'
    return f'{_NAMED}\nif [ -n "$want" ]; then\n{_BY_NAME}\nelse\n{by_part}\nfi'


_CHECKOUT = """\
commit=$(git rev-parse --verify --quiet 'refs/homeport/source^{commit}') || fail "$ref is no commit"
git checkout --quiet --force --detach "$commit" || exit 1"""

_SUBMODULES = """\
git remote add origin "$url" && git submodule --quiet update --init --recursive --depth=1 || exit 1"""

_END = f"""\
grep -qs 'filter=lfs' .gitattributes && printf '%s\\n' '{MARK}Files of Git LFS are left as pointers'
printf '%s\\n' "{MARK}Fetched commit $commit"
printf '%s' "$commit" > {PLACE}/commit"""

# The first that is found in git's words → what it means. Order matters: a forge says "not found" for both.
_MEANINGS: Sequence[tuple[str, str]] = (
    (r"there is no branch, tag or commit|couldn't find remote ref|no such remote ref", "the ref is not known there"),
    (r"host key verification failed", "the host's ssh key is not in DATA/ssh_known_hosts or /etc/ssh/ssh_known_hosts"),
    (
        r"could not read (username|password)|authentication failed|permission denied|prompts disabled|error: 40[13]",
        "it needs a login, or the one in spec.repository.secret is refused",
    ),
    (r"repository not found|not found|does not exist|does not appear to be a git repository|no such file", "not found"),
    (r"signal 25|file too large", "it is larger than [sources] repository_mb allows"),
    (r"could not resolve host", "the host is not known"),
    (r"connection (refused|timed out)|failed to connect|network is unreachable", "the host does not answer"),
    (r"certificate", "the host's certificate is not trusted"),
    (r"fsck|bad object|corrupt", "it holds objects that git's check refuses"),
    (r"transport '.*' not allowed", "it leads to an address of a kind that is not fetched"),
)


def meaning(lines: Sequence[str]) -> str:
    """What the last lines of git's output mean, in words; empty where that is not known."""
    text = "\n".join(line for line in lines if not line.startswith(MARK)).lower()
    return next((words for pattern, words in _MEANINGS if re.search(pattern, text)), "")
