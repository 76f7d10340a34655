"""What a terminal shows while the agent runs."""
