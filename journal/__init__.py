"""WHAT BECAME OF IT: messages and what happened to them, kept in a spool and a database, and the identifiers that name them."""
