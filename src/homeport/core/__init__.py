"""What every package may use: errors, ids, clock, limits, units, services and logging. No I/O of its own."""
