"""The routes of the registry of services and of the market."""
