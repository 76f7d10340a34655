"""The only place with SQL. Each use case's database work is a plain function over a connection."""
