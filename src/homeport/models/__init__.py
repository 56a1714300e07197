"""The model gateway: providers, metering, limits. Served by the edge process; not part of this version.

The package stands here so that the import layers are whole; the gateway answers model paths with 404
"not served by this version" until it is filled.
"""
