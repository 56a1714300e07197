"""The store: desired and observed state, durable. `contract` says what it promises, `sql` keeps it."""
