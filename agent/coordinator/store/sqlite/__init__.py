"""The coordinator's database on SQLite. Only `store.engines` and `store.prepared` know this package."""
