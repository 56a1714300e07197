"""One module per group of commands; `homeport.cli.main` registers them."""
