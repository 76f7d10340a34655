"""Clients and miners that do as a test says, and some that misbehave."""
