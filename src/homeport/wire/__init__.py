"""The shapes that cross the network, and only they: bodies, pages, errors. Pydantic lives here and goes no further."""
