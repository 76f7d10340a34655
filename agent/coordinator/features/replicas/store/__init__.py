"""The coordinator's database on PostgreSQL. All modules but `sums` need the optional driver."""
