"""Servers that the tests run beside the agent, and loads on them."""
