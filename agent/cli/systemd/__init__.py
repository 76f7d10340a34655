"""What the agent and systemd say to each other."""
