"""The adapters that come with the agent. Each imports what only it needs inside functions."""
