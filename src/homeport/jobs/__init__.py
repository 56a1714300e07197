"""Jobs: executions, task states, the retry rule. Functions of values; no I/O."""
