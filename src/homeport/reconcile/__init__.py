"""The loops that make what is so into what was asked for, one module each. A loop takes no input: a signal or a timer
wakes it, it reads the store and the drivers, and acts. What it does is decided in `homeport.workloads`."""
