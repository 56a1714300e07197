"""`make chaos`: random faults under mixed load, then the checks that nothing was lost. See docs/testing.md."""
