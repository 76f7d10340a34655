"""The child process that runs a runner, and the messages between it and the agent."""
