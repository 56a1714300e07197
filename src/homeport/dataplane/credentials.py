"""Who may pass: the filters that verify tokens and refuse revoked ones, and each route's rule (pure).

Built for `snapshot`. Keys and revoked tokens travel as filter configurations of their own, because a change of the
listener would cut streams. Signed tokens need no lookup: who made them and whether they may be used is in them.
"""

import json
from typing import Any

from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as filter_pb2
from envoy.type.matcher.v3 import http_inputs_pb2, metadata_pb2, string_pb2, value_pb2
from google.protobuf import empty_pb2
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from homeport.dataplane import headers
from homeport.dataplane.packing import Packed, any_of, pack
from homeport.dataplane.routes import WorkloadRoute

TOKENS_CACHED = 10_000  # verified tokens kept by each worker (about 1 kB each); more live keys cost a check each
REQUIRED = "required"
OPTIONAL = "optional"


def token_filter(jwks: dict[str, Any], issuer: str, audience: str) -> Packed:
    """The filter that verifies tokens made by `issuer` for `audience` with the keys of `jwks`.

    X-Blaxel-Authorization wins and Authorization works alone. A token that was accepted is removed, and so is one of
    ours in Authorization next to it; anything else in Authorization belongs to the workload and stays.
    """
    keys = json.dumps(jwks, sort_keys=True, separators=(",", ":"))
    own = _provider(keys, issuer, audience, headers.BLAXEL_AUTHORIZATION, identifies=True)
    alone = _provider(keys, issuer, audience, headers.AUTHORIZATION, identifies=True)
    # Verifies only in order to remove: the claims of the first token count.
    beside = _provider(keys, issuer, audience, headers.AUTHORIZATION, identifies=False)
    passing = jwt.JwtRequirement(allow_missing_or_failed=empty_pb2.Empty())
    first = _all_of(_named("own"), _any_of(_named("beside"), passing))
    required = _any_of(first, _named("alone"))
    config = jwt.JwtAuthentication(
        providers={"own": own, "alone": alone, "beside": beside},
        requirement_map={
            REQUIRED: required,
            OPTIONAL: _any_of(first, _named("alone"), passing),
        },
    )
    # For requests without a route: a path of a workload's form, or a host name of one, needs a token before it is told
    # that nothing is there.
    hosted = config.rules.add()
    hosted.match.prefix = "/"
    hosted.match.headers.add(name=headers.HOST, string_match=_exact(f"{headers.NO_HOST}:"), invert_match=True)
    hosted.requires.CopyFrom(required)
    rule = config.rules.add()
    rule.match.safe_regex.regex = headers.WORKLOAD_FORM
    rule.requires.CopyFrom(required)
    return _filter(headers.JWT_FILTER, config)


def deny_filter(revoked: frozenset[str]) -> Packed:
    """The filter that refuses tokens whose `jti` is in `revoked`: a hash map, its cost does not grow with its size."""
    by_jti = http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=headers.JTI)
    matcher = matcher_pb2.Matcher(on_no_match=_verdict(rbac_pb2.RBAC.ALLOW))
    if revoked:  # an empty map is not valid
        matcher.matcher_tree.input.CopyFrom(
            xds_extension_pb2.TypedExtensionConfig(name="jti", typed_config=any_of(by_jti))
        )
        deny = _verdict(rbac_pb2.RBAC.DENY)
        for jti in sorted(revoked):
            matcher.matcher_tree.exact_match_map.map[jti].CopyFrom(deny)
    return _filter(headers.DENY_FILTER, filter_pb2.RBAC(matcher=matcher))


def rules_of(route: WorkloadRoute, *, public: bool) -> dict[str, Any]:
    """The filters' settings for an address of a workload: its workspace's tokens that may run it, or anybody where it
    is public."""
    if public:
        return {
            headers.JWT_FILTER: any_of(jwt.PerRouteConfig(requirement_name=OPTIONAL)),
            headers.DENY_FILTER: any_of(filter_pb2.RBACPerRoute()),
            headers.ACCESS_FILTER: any_of(filter_pb2.RBACPerRoute()),
        }
    workspace = _claim("workspace", value_pb2.ValueMatcher(string_match=_exact(route.workspace)))
    scopes = [_claim("scopes", _holds(scope)) for scope in ("all", f"{route.kind.plural}:run")]
    either = rbac_pb2.Principal(or_ids=rbac_pb2.Principal.Set(ids=scopes))
    caller = rbac_pb2.Principal(and_ids=rbac_pb2.Principal.Set(ids=[workspace, either]))
    policy = rbac_pb2.Policy(permissions=[rbac_pb2.Permission(any=True)], principals=[caller])
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.ALLOW, policies={"callers": policy})
    return {
        headers.JWT_FILTER: any_of(jwt.PerRouteConfig(requirement_name=REQUIRED)),
        headers.ACCESS_FILTER: any_of(filter_pb2.RBACPerRoute(rbac=filter_pb2.RBAC(rules=rules))),
    }


def rules_of_models() -> dict[str, Any]:
    """Model paths need a token; the listener's own rule compares its workspace with the path's."""
    return {headers.JWT_FILTER: any_of(jwt.PerRouteConfig(requirement_name=REQUIRED))}


def rules_of_platform() -> dict[str, Any]:
    """The server authenticates for itself: it must see the credential as it came."""
    return {
        headers.JWT_FILTER: any_of(jwt.PerRouteConfig(disabled=True)),
        headers.DENY_FILTER: any_of(filter_pb2.RBACPerRoute()),
        headers.ACCESS_FILTER: any_of(filter_pb2.RBACPerRoute()),
    }


def _provider(keys: str, issuer: str, audience: str, header: str, *, identifies: bool) -> Any:
    provider = jwt.JwtProvider(
        issuer=issuer,
        audiences=[audience],
        local_jwks=base_pb2.DataSource(inline_string=keys),
        forward=False,
        from_headers=[jwt.JwtHeader(name=header, value_prefix="Bearer ")],
        jwt_cache_config=jwt.JwtCacheConfig(jwt_cache_size=TOKENS_CACHED),
    )
    if identifies:
        provider.payload_in_metadata = headers.JWT_PAYLOAD
        for name, claim in headers.FROM_CLAIMS.items():
            provider.claim_to_headers.add(header_name=name, claim_name=claim)
    return provider


def _named(provider: str) -> Any:
    return jwt.JwtRequirement(provider_name=provider)


def _any_of(*requirements: Any) -> Any:
    return jwt.JwtRequirement(requires_any=jwt.JwtRequirementOrList(requirements=requirements))


def _all_of(*requirements: Any) -> Any:
    return jwt.JwtRequirement(requires_all=jwt.JwtRequirementAndList(requirements=requirements))


def _claim(name: str, value: Any) -> Any:
    segments = [metadata_pb2.MetadataMatcher.PathSegment(key=key) for key in (headers.JWT_PAYLOAD, name)]
    matcher = metadata_pb2.MetadataMatcher(filter=headers.JWT_METADATA, path=segments, value=value)
    source = rbac_pb2.SourcedMetadata(metadata_matcher=matcher, metadata_source=rbac_pb2.DYNAMIC)
    return rbac_pb2.Principal(sourced_metadata=source)


def _holds(text: str) -> Any:
    one = value_pb2.ValueMatcher(string_match=_exact(text))
    return value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=one))


def _exact(text: str) -> Any:
    return string_pb2.StringMatcher(exact=text)


def _verdict(action: int) -> Any:
    name = rbac_pb2.RBAC.Action.Name(action)
    config = any_of(rbac_pb2.Action(name=name, action=action))
    return matcher_pb2.Matcher.OnMatch(
        action=xds_extension_pb2.TypedExtensionConfig(name="action", typed_config=config)
    )


def _filter(name: str, config: Any) -> Packed:
    return pack(name, extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(config)))
