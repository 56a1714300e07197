"""What holds for every test."""

import signal

# A shell starts background jobs with SIGINT ignored, and programs inherit that: then no Ctrl-C could be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
