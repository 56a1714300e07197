"""Which revision and which replica a request goes to: the ways to choose, in the order in which they are tried (pure).

Called by `tables`. A request of an MCP session goes where that began (`sessions`). One that names a conversation goes
by it: the same one to the same revision for as long as the shares stay. One with a cookie of ours goes to the revision
that the cookie names, if that still has a share. Any other goes by the shares, and gets a cookie. With affinity to a
replica the same two also choose that, by a table of hashes (Maglev): a replica that goes takes its own conversations
with it, and a few more.

A cookie's value says nothing to anybody: one is a hash of an id that is random, the other an id of a request.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import wrappers_pb2

from homeport.core.ids import Kind
from homeport.dataplane import headers
from homeport.dataplane.routes import RevisionRoute, WorkloadRoute
from homeport.dataplane.sessions import session_begun_at
from homeport.workloads.addresses import Stickiness

REVISION_COOKIE = "hp-revision"
REPLICA_COOKIE = "hp-replica"
_REQUEST_ID_LENGTH = 64  # one that Envoy makes has 36; a client may send another


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """For requests with all of `conditions` (matchers of headers): one of `split` by weight. `hashes`: what chooses the
    replica, and, if `whole`, the revision too. `cookies`: whether the answer sets them."""

    split: tuple[RevisionRoute, ...]
    conditions: tuple[Any, ...] = ()
    hashes: tuple[Any, ...] = ()
    whole: bool = False
    cookies: bool = False


def choices(route: WorkloadRoute) -> tuple[Choice, ...]:
    """At least one, the last without a condition. Its split is empty where nothing serves."""
    split = tuple(revision for revision in route.revisions if revision.weight > 0)
    return (*_begun(route, split), *_new(route, split))


def _begun(route: WorkloadRoute, split: tuple[RevisionRoute, ...]) -> Iterator[Choice]:
    """An MCP session goes to the revision that one of its replicas began it in."""
    if route.kind is not Kind.FUNCTION or len(split) < 2:
        return
    for revision in split:
        if revision.endpoints:
            yield Choice(split=(revision,), conditions=(session_begun_at(revision.endpoints),))


def _new(route: WorkloadRoute, split: tuple[RevisionRoute, ...]) -> tuple[Choice, ...]:
    rule = route.stickiness
    if not split or not rule.to_revision:
        return (Choice(split=split),)
    found = []
    if len(split) > 1 or rule.replica:
        found.append(Choice(split=split, conditions=(_has_thread(),), hashes=(_by_header(headers.THREAD),), whole=True))
    returning = (_by_cookie(REPLICA_COOKIE), _by_header(headers.REQUEST_ID)) if rule.replica else ()
    for revision in split:
        met = _has_cookie(REVISION_COOKIE, revision_token(route, revision))
        found.append(Choice(split=(revision,), conditions=(met,), hashes=returning))
    coming = (_by_header(headers.REQUEST_ID),) if rule.replica else ()
    return (*found, Choice(split=split, hashes=coming, cookies=True))


def send(action: Any, entry: Any, route: WorkloadRoute, choice: Choice, path: str) -> None:
    """Fill in the target of `entry`, whose action is `action`. `path`: for what cookies are good."""
    action.hash_policy.extend(choice.hashes)
    if len(choice.split) == 1:
        (revision,) = choice.split
        name = route.revision_key(revision.revision)
        action.cluster = by_hash(name) if choice.hashes and route.stickiness.replica else name
        entry.request_headers_to_add.append(_workload_header(name))
        entry.response_headers_to_add.extend(_cookies(route, revision, path) if choice.cookies else ())
        return
    if choice.whole:
        action.weighted_clusters.use_hash_policy.value = True
    for revision in choice.split:
        name = route.revision_key(revision.revision)
        share = route_pb2.WeightedCluster.ClusterWeight(
            name=by_hash(name) if route.stickiness.replica else name,
            weight=wrappers_pb2.UInt32Value(value=revision.weight),
            request_headers_to_add=[_workload_header(name)],
            response_headers_to_add=_cookies(route, revision, path) if choice.cookies else (),
        )
        action.weighted_clusters.clusters.append(share)


def by_hash(revision: str) -> str:
    """The name of the cluster that has the replicas of a revision (its key) and chooses by hash."""
    return f"{revision}/by hash"


def revision_token(route: WorkloadRoute, revision: RevisionRoute) -> str:
    """What a cookie calls the revision."""
    return hashlib.blake2b(route.revision_key(revision.revision).encode(), digest_size=12).hexdigest()


def _cookies(route: WorkloadRoute, revision: RevisionRoute, path: str) -> list[Any]:
    rule = route.stickiness
    found = [_set_cookie(REVISION_COOKIE, revision_token(route, revision), rule, path)]
    if rule.replica:
        seed = f"%REQ({headers.REQUEST_ID}):{_REQUEST_ID_LENGTH}%"
        found.append(_set_cookie(REPLICA_COOKIE, seed, rule, path))
    return found


def _set_cookie(name: str, value: str, rule: Stickiness, path: str) -> Any:
    """Without a time it is good for as long as the browser runs."""
    age = f"; Max-Age={rule.ttl_s}" if rule.ttl_s else ""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(
            key="set-cookie", value=f"{name}={value}{age}; Path={path}; HttpOnly; SameSite=Lax"
        ),
        append_action=base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD,
    )


def _workload_header(name: str) -> Any:
    """Tells the activator for whom a request is. Envoy cannot say it to one priority only, so replicas see it too:
    it is their own name."""
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=headers.WORKLOAD, value=name),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _has_thread() -> Any:
    return route_pb2.HeaderMatcher(name=headers.THREAD, string_match=_pattern(".+"))


def _has_cookie(name: str, value: str) -> Any:
    return route_pb2.HeaderMatcher(name="cookie", string_match=_pattern(rf"(.*;\s*)?{name}={value}(\s*;.*)?"))


def _pattern(text: str) -> Any:
    return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=text))


def _by_header(name: str) -> Any:
    policy = route_pb2.RouteAction.HashPolicy
    return policy(header=policy.Header(header_name=name), terminal=True)


def _by_cookie(name: str) -> Any:
    policy = route_pb2.RouteAction.HashPolicy
    return policy(cookie=policy.Cookie(name=name), terminal=True)
