"""The steps by which a database comes to this version's schema, one file each in `versions`. Run by `store.schema`."""
