"""One file that moves the wall clock of the processes under test."""
