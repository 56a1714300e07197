"""One module a scenario, found by its presence: a docstring that says what is compared, and
`run(rounds: int, scale: float) -> Outcome`. `scale` 1 is the full measurement; less is for trying it out."""
