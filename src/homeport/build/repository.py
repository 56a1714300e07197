"""What `spec.repository` may say, and what of it is fetched. Pure; called at a deployment, which it may refuse, and
again when the repository is fetched.

An address is taken apart here and compared with what is known to be harmless, since git has forms of addresses that run
commands. What is not known is refused. An address that holds a credential is refused without being repeated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from homeport.configuration import Sources
from homeport.core.errors import Invalid
from homeport.core.ids import check_name
from homeport.core.spec import read_object, read_text

FIELD = "spec.repository"
_URL = f"{FIELD}.url"
_SECRET = f"{FIELD}.secret"
_SCHEMES = ("https", "http", "ssh", "git", "file")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SCP = re.compile(r"(?:(?P<user>[^@/:]+)@)?(?P<host>[^@/:]+):(?P<path>[^:].*)")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT_PART = re.compile(r"[0-9a-f]{7,64}")
_STORE_IT = "Store it with `homeport secrets set NAME`, and name it in spec.repository.secret."


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """url: without the part after #. ref: that part, a branch, tag or commit; None for the default branch. host: with
    the port, as git writes it in its questions; empty for a directory of this machine. secret: a stored one's name."""

    url: str
    scheme: str
    host: str
    ref: str | None = None
    secret: str | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the ref is a whole commit, which never becomes another one."""
        return bool(self.ref and _COMMIT.fullmatch(self.ref))

    @property
    def may_be_commit(self) -> bool:
        return bool(self.ref and _COMMIT_PART.fullmatch(self.ref))

    @property
    def shown(self) -> str:
        """The address for people; no credential is ever part of it."""
        return f"{self.url}#{self.ref}" if self.ref else self.url


def read_repository(spec: Mapping[str, Any], sources: Sources) -> Repository | None:
    """The repository that `spec` names, None where it names none. Raises `Invalid` for one that is not fetched."""
    written = read_object(spec, "repository", FIELD)
    address = read_text(written, "url", _URL)
    secret = read_text(written, "secret", _SECRET)
    if address is None:
        if secret is not None:
            raise Invalid(_SECRET, "needs spec.repository.url", value=secret)
        return None
    found = _parsed(address)
    _check_allowed(found.scheme, sources)
    if secret is None:
        return found
    if found.scheme not in ("https", "ssh"):
        raise Invalid(_SECRET, f"is sent over https and ssh only, and this address is {found.scheme}", value=secret)
    check_name(secret, _SECRET)
    return Repository(url=found.url, scheme=found.scheme, host=found.host, ref=found.ref, secret=secret)


def _parsed(address: str) -> Repository:
    if not address.isascii() or not address.isprintable() or " " in address:
        raise Invalid(_URL, "must be printable ASCII without blanks")
    url, mark, ref = address.partition("#")
    if mark:
        _check_ref(ref)
    if url.startswith("-") or re.match(r"[A-Za-z0-9+.-]*::", url):
        raise Invalid(_URL, "must not choose a transport helper or an option of git", value=_repeatable(url))
    if "://" not in url:
        return _scp_like(url, ref or None)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise Invalid(_URL, "must be an address with a valid host and port") from exc
    _check_login(parts)
    if parts.scheme not in _SCHEMES:
        raise Invalid(_URL, f"must begin with one of {', '.join(f'{name}://' for name in _SCHEMES)}", value=url)
    if "?" in url or "\\" in url or "%00" in url:
        raise Invalid(_URL, "must not hold a query, a backslash or a zero byte", hint=_STORE_IT)
    _check_place(parts, url)
    host = parts.netloc.rpartition("@")[2] if port or parts.hostname else ""
    # git knows its schemes in small letters only.
    return Repository(url=parts.scheme + url[len(parts.scheme) :], scheme=parts.scheme, host=host, ref=ref or None)


def _repeatable(url: str) -> str | None:
    """The address for a message, unless a part of it may be a credential."""
    return None if "@" in url else url


def _check_login(parts: SplitResult) -> None:
    """A user's name is part of an ssh address; anything else before @ is a credential, and is not repeated."""
    if "@" not in parts.netloc:
        return
    if parts.password is not None or parts.scheme != "ssh":
        raise Invalid(_URL, "must not hold a user, a password or a token", hint=_STORE_IT)
    if not _USER.fullmatch(parts.username or ""):
        raise Invalid(_URL, "must name its user with letters, digits, '.', '_' and '-'")


def _check_place(parts: SplitResult, url: str) -> None:
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/") or ".." in parts.path.split("/"):
            raise Invalid(_URL, "must be file:// and an absolute path without '..'", value=url)
    elif not _HOST.fullmatch(parts.hostname or "") or not parts.path.strip("/"):
        raise Invalid(_URL, "must name a host and the path of a repository", value=url)


def _scp_like(url: str, ref: str | None) -> Repository:
    """`git@host:path`, the short form of ssh."""
    match = _SCP.fullmatch(url)
    if match is None or url.startswith("/"):
        rule = "must be an address such as https://host/path, ssh://git@host/path or git@host:path"
        raise Invalid(_URL, rule, value=_repeatable(url))
    if "@" in match["path"]:  # user:token@host:path, and https:/user:token@host/path
        raise Invalid(_URL, "must not hold a second @, a password or a token", hint=_STORE_IT)
    user_ok = match["user"] is None or _USER.fullmatch(match["user"])
    if not user_ok or not _HOST.fullmatch(match["host"]) or match["path"].startswith("-"):
        raise Invalid(_URL, "must be git@host:path", value=_repeatable(url))
    return Repository(url=url, scheme="ssh", host=match["host"], ref=ref)


def _check_ref(ref: str) -> None:
    """git's own rules for names, and some of their parts that have a meaning for it."""
    odd = ("..", "//", "@{", "/.", "./")
    if not _REF.fullmatch(ref) or any(part in ref for part in odd) or ref.endswith((".lock", "/", ".")):
        raise Invalid(_URL, "must have the name of a branch or tag, or a commit, after #", value=ref)


def _check_allowed(scheme: str, sources: Sources) -> None:
    if scheme == "file" and not sources.allow_file_repositories:
        raise Invalid(
            _URL,
            "may not be a directory of this machine",
            hint="The operator allows it in DATA/config.toml: [sources] allow_file_repositories = true",
        )
    if scheme == "http" and not sources.allow_http_repositories:
        raise Invalid(
            _URL,
            "must not be http, on whose way the code could be changed; use https",
            hint="The operator allows it in DATA/config.toml: [sources] allow_http_repositories = true",
        )
