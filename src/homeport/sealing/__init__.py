"""Secrets at rest: which parts of a specification are secret, and how they are sealed, masked and opened."""
