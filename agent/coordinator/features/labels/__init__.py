"""Labels: pairs of key and value by which clients group and find their jobs."""
