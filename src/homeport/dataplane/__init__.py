"""The data plane: Envoy's configuration and life signs, and the activator that serves workloads without a replica.

`routes` is what the rest of Homeport says, `snapshot` turns it into Envoy's resources (pure), `xds` hands them over,
`bootstrap` starts Envoy, `activator` runs in the edge. Nothing here knows the store, the drivers or the API.
"""

import os

# Processes that hold gRPC never fork (the node does); without this gRPC installs fork handlers that log each time.
# It must be set before the first import of grpc, hence here.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
