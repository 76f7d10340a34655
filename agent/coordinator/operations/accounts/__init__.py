"""Authentication, and the contents of accounts."""
