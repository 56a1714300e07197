"""Process supervision for `homeport up`: starts the four components, watches them, stops them. The command line reads
its state and ends it; the supervisor itself is a program of its own (`python -m homeport.supervise`)."""
