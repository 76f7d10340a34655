"""Use cases: each reads, decides in the core, writes in one transaction, and publishes."""
