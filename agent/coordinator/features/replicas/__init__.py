"""Several coordinators on one PostgreSQL database, of which one leads.

`store` is the engine, `replicas` the membership, `bus` the messages, and `relay` shares the miners' connections; `agent.coordinator.cluster` is
what the kernel knows of them. To move from SQLite, `store.moving` reads and `store.loading` writes all tables of the metadata, `moved` marks
the file, and `comparison` proves that both are equal.
"""
