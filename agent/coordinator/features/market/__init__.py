"""What clients can have: the registry of services, their current supply, and statistics of the network and its miners."""
