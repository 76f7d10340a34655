"""The coordinator's database on PostgreSQL. Only `store.engines`, `store.prepared` and `store.sessions` know this package."""
