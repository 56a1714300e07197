"""The control plane over HTTP: routes convert bodies to use cases and back, and decide nothing."""
