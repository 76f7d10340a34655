"""Self-tests of miners: operators can require a passed one of miners that join."""
