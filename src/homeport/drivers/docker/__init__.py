"""The driver `docker`: units as containers of an engine that speaks the Docker API (Docker, Podman)."""
