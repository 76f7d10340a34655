"""The connection to the coordinator: registration, sessions, leases."""
