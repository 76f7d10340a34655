"""Small programs that update themselves by the agent's own means, and releases on an index."""
