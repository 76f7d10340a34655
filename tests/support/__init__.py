"""Support for tests: a real coordinator on a real socket, scripted miners and clients, machines."""
