"""The names of filters and of headers that belong to the gateway, shared by bootstrap, resources and activator.

Every header here is taken from a client's request before anything reads it, on every route, public ones too.
"""

AUTHORIZATION = "authorization"
BLAXEL_AUTHORIZATION = "x-blaxel-authorization"

THREAD = "x-blaxel-thread-id"  # the caller's own: which conversation a request belongs to
REQUEST_ID = "x-request-id"  # Envoy makes one where there is none

SCOPE = "x-hp-scope"  # the route table's key, from the path
HOST = "x-hp-host"  # and from the host name, where it is a workload's
JTI = "x-hp-jti"  # claims of the token that was accepted
SUBJECT = "x-hp-sub"
WORKSPACE = "x-hp-workspace"
WORKLOAD = "x-hp-workload"  # RevisionRoute's key, for the activator

INVOKE = "x-hp-invoke"  # workspace/agents/name/trigger of what is to be called asynchronously, for the edge
CALL = "x-hp-call"  # marks an attempt at such a call, which the edge makes
INVOKED_BY_PARAMETER = "-"  # in place of a trigger

METRICS = "x-hp-metrics"  # the server asks the edge for what it has counted

FROM_CLAIMS = {JTI: "jti", SUBJECT: "sub", WORKSPACE: "workspace"}
OWN = (SCOPE, HOST, JTI, SUBJECT, WORKSPACE, WORKLOAD, INVOKE, CALL, METRICS)
TO_EDGE = (WORKLOAD, INVOKE)  # set by routes

# What a program is told of an asynchronous call; taken from clients likewise, who would pass for the edge. The first is
# also in the answer to the call.
INVOCATION_ID = "X-Homeport-Invocation-Id"
ATTEMPT = "X-Homeport-Attempt"
OF_CALLS = (INVOCATION_ID.lower(), ATTEMPT.lower())

# Names of filters in the listener: also the names of the resources that configure the first two.
JWT_FILTER = "homeport.jwt"
DENY_FILTER = "homeport.deny"
ACCESS_FILTER = "homeport.access"
SESSION_FILTER = "envoy.filters.http.stateful_session"

# The metadata that the first filter leaves for the third.
JWT_METADATA = "envoy.filters.http.jwt_authn"
JWT_PAYLOAD = "jwt"

# Scopes of the route table that are no workload. No path leads to them by itself, because none holds a blank.
PLATFORM_SCOPE = ("the platform", "-", "-")
MODELS_SCOPE = ("all models", "-", "-")
HOSTS_SCOPE = ("host names", "-", "-")  # and the host name
PATHS_SCOPE = "custom paths"  # and the workspace, and the first part of the path below it
NO_HOST = "-"

# A path of a workload's form, as a regular expression: whatever is there, or nothing, is a workload's business.
WORKLOAD_FORM = r"/[^/?]+/(agents|functions|models|jobs|sandboxes)/[^/?]+([/?].*)?"
