"""What a process counts of its own work, for Prometheus: process-wide, since there is one of each part in a process.

Counters begin at zero with the process, as Prometheus expects. Labels are workspaces and outcomes only: what is told of
a single workload is read where it is kept, and goes with it.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry(auto_describe=True)

STORE_COMMITS = Counter("homeport_store_commits", "Transactions made durable.", registry=REGISTRY)
STORE_WRITES = Counter("homeport_store_writes", "Changes in them; many share a commit.", registry=REGISTRY)
STORE_FAILURES = Counter("homeport_store_failures", "Groups of changes that could not be written.", registry=REGISTRY)
STORE_COMMIT_SECONDS = Histogram(
    "homeport_store_commit_seconds",
    "From the first change of a group to its commit.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
    registry=REGISTRY,
)
BUILD_SECONDS = Histogram(
    "homeport_build_duration_seconds",
    "Fetching and building one revision.",
    ("workspace", "result"),
    buckets=(1, 2.5, 5, 10, 30, 60, 120, 300, 900),
    registry=REGISTRY,
)

# Of the edge.
EDGE_REGISTRY = CollectorRegistry(auto_describe=True)
HELD = Gauge("homeport_activator_holding", "Requests that the edge holds or forwards now.", registry=EDGE_REGISTRY)
ACTIVATIONS = Counter(
    "homeport_activator_requests",
    "Requests that came to the edge for want of a replica.",
    ("workspace", "outcome"),
    registry=EDGE_REGISTRY,
)
ACTIVATION_SECONDS = Histogram(
    "homeport_activator_wait_seconds",
    "How long such a request waited for a replica.",
    ("workspace",),
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=EDGE_REGISTRY,
)
