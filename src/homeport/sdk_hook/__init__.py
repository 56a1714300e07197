"""A directory for PYTHONPATH, not a package to import: it holds the `sitecustomize` that redirects the public SDK."""
