"""Workloads: revisions, rollout, replicas and their states. Functions of values; no I/O."""
