"""Asynchronous calls of agents, pure: their settings, states, retry rule, and whose turn it is."""
