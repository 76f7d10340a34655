"""Several coordinators on one PostgreSQL database, of which one leads."""
