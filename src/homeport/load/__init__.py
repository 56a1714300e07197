"""Load with an account of every request and every byte: `homeport load`, and the tests that nothing is dropped."""
