"""Who is calling: signed keys, principals, roles and scopes. Only `keys` touches a file: the signing key's."""
