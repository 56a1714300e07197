"""Placement: one of the places that a decision allows, or a refusal that says what to change. No I/O."""
