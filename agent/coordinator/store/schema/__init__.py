"""The tables, and the migrations that create them: a change needs both."""
