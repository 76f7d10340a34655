"""Use cases: read, decide in the core, write in one transaction, publish."""
