"""Start, stop, pause and watch the agent's process."""
