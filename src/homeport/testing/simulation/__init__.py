"""A simulation: the real loops and decisions of the server on virtual time, under faults that a seed draws.

`world` puts one run together: the real runner, rollouts, builds, expiry and garbage loops and the real use cases, over
the store's real SQL in memory, against a scripted node and gateway. One process, one thread, no waiting, no chance but
the seed's: a seed that fails fails again. `python -m homeport.testing.simulation --help`; docs/testing.md says how to
read what it prints.
"""
