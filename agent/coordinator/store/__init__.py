"""The only package with SQL. Each use case's database work is a plain function over a connection."""
