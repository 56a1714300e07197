"""Measures Homeport beside what it is compared with, in one run: `make bench`, or `python -m bench`. Nothing here is a
test of behaviour, and no test measures speed. What the figures mean: docs/benchmarks.md."""
