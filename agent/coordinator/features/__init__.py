"""What the coordinator can do beyond its kernel: a folder for each feature. `agent.features` is their list."""
