"""From a stored task to an outcome: claim, start, watch, finish. Called by nobody: it reads the store and acts.

`dispatch` chooses and claims, `launch` makes the unit of an attempt, `outcomes` takes in how attempts ended. The rules
are in `homeport.jobs`; this package only applies them.
"""
