"""The jobs that this machine has leases for, from their inputs to the delivery of their results."""
