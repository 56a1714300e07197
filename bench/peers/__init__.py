"""Homeport beside other ways to serve the same program: `make peers`. Never part of `make bench` nor of any test."""
