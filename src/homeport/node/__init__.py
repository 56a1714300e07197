"""The owner of every process: a small program of its own that starts, watches, stops and reaps units in sandboxes.

Run as `python -m homeport.node`; the server reaches it through `homeport.drivers.process`. It imports the standard
library and `homeport.core` only, holds no database and decides nothing about agents, jobs or policies.
"""
