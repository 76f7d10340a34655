"""Generated broken requests of every service, sent through a real agent. See `__main__`."""
