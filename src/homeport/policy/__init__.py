"""Policies: what their rules mean and what they allow together. Functions of values; no I/O."""
